"""Quantisation of BLAST factors: little is lost, least where components cancel or inputs are known."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.quantized_blast.matrix import QuantizedBlastMatrix
from blast_deploy.structures.quantized_blast.quantize import quantize


def random_matrix(
    out_features: int, in_features: int, blocks: tuple[int, int], rank: int, seed: int = 0
) -> BlastMatrix:
    random = np.random.default_rng(seed)
    p, q = -(-out_features // blocks[0]), -(-in_features // blocks[1])
    shapes = ((blocks[0], p, rank), (*blocks, rank), (blocks[1], rank, q))
    u, s, v = (random.standard_normal(shape).astype(np.float32) for shape in shapes)
    return BlastMatrix(u, s, v, out_features, in_features)


def cancelling() -> BlastMatrix:
    """Components in pairs that nearly cancel, as least-squares fits come to have them."""
    matrix = random_matrix(48, 40, (2, 2), 24)
    near = np.random.default_rng(1).standard_normal(matrix.u[:, :, ::2].shape).astype(np.float32)
    u, s, v = matrix.u.copy(), matrix.s.copy(), matrix.v.copy()
    u[:, :, 1::2] = -u[:, :, ::2] + 0.1 * near
    s[:, :, 1::2] = s[:, :, ::2]
    v[:, 1::2] = v[:, ::2] + 0.1 * v[:, 1::2]
    return dataclasses.replace(matrix, u=u, s=s, v=v)


def error(found: QuantizedBlastMatrix, matrix: BlastMatrix, x: NDArray[Any] | None = None) -> float:
    """Relative Frobenius norm of the change of the weight, or of the outputs for some inputs."""
    change = found.dequantize().dense() - matrix.dense()
    if x is None:
        return float(np.linalg.norm(change) / np.linalg.norm(matrix.dense()))
    return float(np.linalg.norm(x @ change.T) / np.linalg.norm(x @ matrix.dense().T))


def each_on_its_own(matrix: BlastMatrix, bits: int) -> float:
    """The error where each factor is rounded to the nearest integers, whatever becomes of the others."""
    half = 2 ** (bits - 1) - 1

    def rounded(factor: NDArray[Any]) -> NDArray[np.float64]:
        scale = np.abs(factor).max(axis=-1, keepdims=True).astype(np.float64) / half
        result: NDArray[np.float64] = np.rint(factor / scale) * scale
        return result

    plain = dataclasses.replace(matrix, u=rounded(matrix.u), v=rounded(matrix.v))
    return float(np.linalg.norm(plain.dense() - matrix.dense()) / np.linalg.norm(matrix.dense()))


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 80)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 40),
    st.sampled_from([(8, 32), (4, 32), (4, 64)]),
    st.integers(0, 2**32 - 1),
)
def test_any_size(
    size: tuple[int, int], blocks: tuple[int, int], rank: int, how: tuple[int, int], seed: int
) -> None:
    matrix = random_matrix(*size, blocks, rank, seed)
    bits, block_size = how
    found = quantize(matrix, bits, block_size=block_size)
    assert (found.out_features, found.in_features) == size
    assert (found.blocks, found.rank, found.bits) == (matrix.blocks, matrix.rank, bits)
    if bits == 8:
        assert (found.u_block_size, found.v_block_size) == (rank, matrix.v.shape[2])
    else:
        assert (found.u_block_size, found.v_block_size) == (block_size, block_size)
    assert error(found, matrix) < (0.05 if bits == 8 else 0.6)


@pytest.mark.parametrize(("bits", "most"), [(8, 0.01), (4, 0.13)])
def test_how_much_is_lost_of_random_factors(bits: int, most: float) -> None:
    assert error(quantize(random_matrix(96, 80, (4, 4), 40), bits), random_matrix(96, 80, (4, 4), 40)) < most


@pytest.mark.parametrize(("bits", "times"), [(8, 1.5), (4, 3)])
def test_cancelling_components_lose_less_than_each_factor_on_its_own(bits: int, times: float) -> None:
    matrix = cancelling()
    assert error(quantize(matrix, bits), matrix) * times < each_on_its_own(matrix, bits)


@pytest.mark.parametrize("bits", [8, 4])
def test_known_inputs_lose_less(bits: int) -> None:
    matrix = random_matrix(96, 80, (4, 4), 40)
    random = np.random.default_rng(1)
    mixing = random.standard_normal((80, 80)) * np.logspace(0, -2, 80)
    x = random.standard_normal((500, 80)) @ mixing.T
    known = quantize(matrix, bits, second_moment=mixing @ mixing.T)
    assert error(known, matrix, x) < 0.9 * error(quantize(matrix, bits), matrix, x)


@pytest.mark.parametrize("bits", [8, 4])
def test_padding_does_not_matter(bits: int) -> None:
    matrix = random_matrix(7, 5, (3, 2), 4)
    other = dataclasses.replace(matrix, u=matrix.u.copy(), v=matrix.v.copy())
    other.u[2, 1:], other.v[1, :, 2] = 1e6, np.nan
    found, expected = (
        quantize(dataclasses.replace(other, v=np.nan_to_num(other.v)), bits),
        quantize(matrix, bits),
    )
    x = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    np.testing.assert_array_equal(found.apply(x, None, "int8"), expected.apply(x, None, "int8"))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("factor", ["u", "s", "v"])
def test_zeros_stay_zeros(factor: str, bits: int) -> None:
    matrix = random_matrix(8, 6, (2, 2), 3)
    zeros = dataclasses.replace(matrix, **{factor: np.zeros_like(getattr(matrix, factor))})
    assert not quantize(zeros, bits).dequantize().dense().any()
    half = getattr(matrix, factor).copy()
    half[..., 0, :] = 0
    some = dataclasses.replace(matrix, **{factor: half})
    assert error(quantize(some, bits), some) < (0.05 if bits == 8 else 0.6)


def test_the_same_factors_give_the_same_integers() -> None:
    first, second = (quantize(random_matrix(20, 30, (2, 3), 10), 4) for _ in range(2))
    for name, array in first.tensors().items():
        np.testing.assert_array_equal(array, second.tensors()[name])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bits": 2}, "bits must be 8 or 4"),
        ({"bits": 4, "block_size": 16}, "block size must be 32 or 64"),
        ({"bits": 8, "second_moment": np.eye(3)}, r"second moment must be \(5, 5\)"),
        ({"bits": 8, "second_moment": np.full((5, 5), np.nan)}, "second moment holds NaN"),
    ],
)
def test_bad_arguments_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        quantize(random_matrix(7, 5, (3, 2), 4), **changes)


def test_factors_that_are_not_finite_are_refused() -> None:
    matrix = random_matrix(7, 5, (3, 2), 4)
    matrix.s[0, 0, 0] = np.inf
    with pytest.raises(InvalidInputError, match="S holds NaN or infinity"):
        quantize(matrix, 8)
