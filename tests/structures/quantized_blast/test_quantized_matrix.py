"""QuantizedBlastMatrix against a case worked by hand, its definition value by value, and the float matrix."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from quantized_models import BLOCK_SIZES, GRIDS, SIZES, random_quantized

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.quantized_blast.matrix import QuantizedBlastMatrix


def hand_worked() -> QuantizedBlastMatrix:
    return QuantizedBlastMatrix(
        uq=np.array([[[3, 5]]], np.int8),
        u_scale=np.array([[[0.5]]], np.float32),
        s=np.array([[[1, 1]]], np.int8),
        vq=np.array([[[1, 0, 0], [0, 1, 1]]], np.int8),
        v_scale=np.array([[[1.0], [2.5]]], np.float32),
        out_features=1,
        in_features=3,
        bits=8,
        u_block_size=2,
        v_block_size=3,
    )


def test_a_case_worked_by_hand() -> None:
    x, bias = np.array([127.0, 0.5, 1.4], np.float32), np.array([0.25], np.float32)
    # X becomes 127, 0, 1; w = 127, 2.5 becomes 127, 2; y = (3 * 127 + 5 * 2) / 2 + 0.25.
    assert hand_worked().apply(x, bias, "int8").tolist() == [195.75]
    # Left as they are: w = 127, 2.5 * 1.9 and y = (3 * 127 + 5 * 4.75) / 2 + 0.25.
    assert hand_worked().apply(x, bias, "float").tolist() == pytest.approx([202.625], rel=1e-6)


def by_definition(matrix: QuantizedBlastMatrix, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """One row, one value after another, in the words of the contract."""
    (b1, b2), r = matrix.blocks, matrix.rank
    p, q = matrix.uq.shape[1], matrix.vq.shape[2]
    padded = np.zeros(b2 * q, np.float32)
    padded[: matrix.in_features] = x
    y = []
    for i in range(b1):
        w = []
        for k in range(r):
            terms = []
            for j in range(b2):
                entering = one_by_one(padded[j * q : (j + 1) * q])
                z = sum(
                    value * int(matrix.vq[j, k, c]) * float(matrix.v_scale[j, k, c // matrix.v_block_size])
                    for c, value in enumerate(entering)
                )
                terms.append(int(matrix.s[i, j, k]) * z)
            w.append(sum(terms))
        inner = one_by_one(np.array(w, np.float32))
        y += [
            sum(
                value * int(matrix.uq[i, row, k]) * float(matrix.u_scale[i, row, k // matrix.u_block_size])
                for k, value in enumerate(inner)
            )
            for row in range(p)
        ]
    return np.array(y[: matrix.out_features])


def one_by_one(values: NDArray[np.float32]) -> list[float]:
    found: list[float] = []
    for first in range(0, len(values), 32):
        group = values[first : first + 32]
        a = np.abs(group).max()
        for value in group:
            step = np.float32(127) / a if a >= np.float32(1e-30) else np.float32(0)
            found.append(float(round(float(np.float32(value * step)))) * (float(a) / 127))
    return found


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 80)),
    GRIDS,
    st.integers(1, 40),
    BLOCK_SIZES,
    st.sampled_from([8, 4]),
    st.integers(0, 2**32 - 1),
)
def test_the_definition(
    size: tuple[int, int],
    blocks: tuple[int, int],
    rank: int,
    block_sizes: tuple[int, int],
    bits: int,
    seed: int,
) -> None:
    matrix = random_quantized(*size, blocks, rank, bits=bits, block_sizes=block_sizes, seed=seed)
    x = np.random.default_rng(seed).standard_normal(size[1]).astype(np.float32)
    found, expected = matrix.apply(x, None, "int8"), by_definition(matrix, x)
    # A w whose last bit of float64 falls differently may fall on the other side of a half.
    assert np.abs(found - expected).max() <= 1e-12 * max(1, np.abs(expected).max())


@given(SIZES, GRIDS, st.integers(1, 50), BLOCK_SIZES, st.sampled_from([8, 4]))
def test_int8_is_float_with_a_little_noise(
    size: tuple[int, int], blocks: tuple[int, int], rank: int, block_sizes: tuple[int, int], bits: int
) -> None:
    matrix = random_quantized(*size, blocks, rank, bits=bits, block_sizes=block_sizes)
    x = np.random.default_rng(1).standard_normal((3, size[1])).astype(np.float32)
    exact, noisy = matrix.apply(x, None, "float"), matrix.apply(x, None, "int8")
    np.testing.assert_allclose(exact, x @ matrix.dequantize().dense().T, rtol=1e-9, atol=1e-9)
    absolute = dataclasses.replace(
        matrix.dequantize(), **{name: np.abs(getattr(matrix.dequantize(), name)) for name in "usv"}
    )
    # Half a step of a group is at most 1/254 of its greatest value, and w goes through the same once more.
    most = absolute.apply(np.full_like(x, np.abs(x).max()))
    inner = np.abs(matrix.coupled(x)).max() * np.abs(matrix.dequantize().u).sum(axis=2).max()
    assert (np.abs(noisy - exact) <= (most + inner) / 250).all()


@pytest.mark.parametrize("activation", ["float", "int8"])
@pytest.mark.parametrize("leading", [(), (0,), (1,), (2, 3), (2, 0)])
def test_leading_axes_are_kept_and_padding_does_not_count(leading: tuple[int, ...], activation: Any) -> None:
    matrix = random_quantized(7, 5, (3, 2), 4)
    x = np.random.default_rng(1).standard_normal((*leading, 5)).astype(np.float32)
    bias = np.arange(7, dtype=np.float32)
    cleaned = dataclasses.replace(matrix, vq=matrix.vq.copy(), uq=matrix.uq.copy())
    cleaned.vq[1, :, 2], cleaned.uq[2, 1:] = 0, 0
    found = matrix.apply(x, bias, activation)
    assert found.shape == (*leading, 7)
    np.testing.assert_array_equal(found, cleaned.apply(x, bias, activation))
    rows = [matrix.apply(row, bias, activation) for row in x.reshape(-1, 5)]
    np.testing.assert_allclose(found.reshape(-1, 7), np.reshape(rows, (-1, 7)), rtol=1e-12, atol=1e-12)


def test_bytes_are_those_of_the_file() -> None:
    matrix = random_quantized(7, 5, (3, 2), 5, bits=4, block_sizes=(2, 2))
    # Uq 3 x 3 x 5 and Vq 2 x 5 x 3 half bytes, S 3 x 2 x 5 bytes, scales 3 x 3 x 3 and 2 x 5 x 2 floats.
    assert matrix.bytes == 23 + 15 + 30 + 4 * (27 + 20)
    assert dataclasses.replace(matrix, bits=8).bytes == 45 + 30 + 30 + 4 * (27 + 20)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bits": 5}, "bits must be 8 or 4"),
        ({"u_block_size": 0}, "must be positive"),
        ({"u_block_size": 2}, "U_scale must be"),
        ({"v_block_size": 2}, "V_scale must be"),
        ({"out_features": 10}, "U must be"),
        ({"bits": 4}, "uq must lie in -8 to 7 for 4 bits"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    matrix = random_quantized(7, 5, (3, 2), 4)
    with pytest.raises(InvalidInputError, match=words):
        dataclasses.replace(matrix, **changes)


def test_another_width_or_activation_is_refused() -> None:
    matrix = random_quantized(7, 5, (3, 2), 4)
    with pytest.raises(InvalidInputError, match="must be 5"):
        matrix.apply(np.zeros((2, 6), np.float32), None, "int8")
    with pytest.raises(InvalidInputError, match="float or int8"):
        matrix.apply(np.zeros((2, 5), np.float32), None, "int4")  # type: ignore[arg-type]
