"""The packed layout: the library's packing against NumPy's reading, and the kernels called directly."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.native import Library
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.blast.packing import linear, pack, packed_size, unpack

Float32 = NDArray[np.float32]


def integer_matrix(
    out_features: int, in_features: int, blocks: tuple[int, int], rank: int, seed: int = 0
) -> BlastMatrix:
    """Factors of small whole numbers without zeros: products and sums of a few of them are exact."""
    random = np.random.default_rng(seed)
    p, q = -(-out_features // blocks[0]), -(-in_features // blocks[1])
    u, s, v = (
        (random.integers(1, 4, shape) * random.choice((-1, 1), shape)).astype(np.float32)
        for shape in ((blocks[0], p, rank), (*blocks, rank), (blocks[1], rank, q))
    )
    u.reshape(-1, rank)[out_features:] = 0
    v.transpose(0, 2, 1).reshape(-1, rank)[in_features:] = 0
    columns = np.arange(blocks[1] * q).reshape(blocks[1], 1, q)
    return BlastMatrix(u, s, np.where(columns < in_features, v, 0), out_features, in_features)


matrices = st.builds(
    integer_matrix,
    st.integers(1, 70),
    st.integers(1, 70),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.one_of(st.integers(1, 40), st.integers(155, 330)),
    st.integers(0, 2**32 - 1),
)


def sizes_of(matrix: BlastMatrix) -> tuple[int, int, tuple[int, int], int]:
    return matrix.out_features, matrix.in_features, matrix.blocks, matrix.rank


@given(matrices)
def test_unpacking_gives_back_what_was_packed(matrix: BlastMatrix) -> None:
    packed = pack(matrix)
    assert packed.shape == (packed_size(*sizes_of(matrix)),)
    found = unpack(packed, *sizes_of(matrix))
    for name in ("u", "s", "v"):
        np.testing.assert_array_equal(getattr(found, name), getattr(matrix, name))


@given(matrices)
def test_packing_keeps_every_value_once_and_pads_with_zeros(matrix: BlastMatrix) -> None:
    values = [np.ravel(factor) for factor in (matrix.u, matrix.s, matrix.v)]
    expected = np.concatenate([factor[factor != 0] for factor in values])
    packed = pack(matrix)
    np.testing.assert_array_equal(np.sort(packed[packed != 0]), np.sort(expected))


def test_little_is_lost_to_padding_for_usual_layers() -> None:
    for sizes in ((384, 384, (4, 4), 94), (1536, 384, (4, 4), 152), (4096, 4096, (16, 16), 992)):
        out_features, in_features, blocks, rank = sizes
        parameters = rank * (out_features + in_features + blocks[0] * blocks[1])
        assert parameters <= packed_size(*sizes) < 1.03 * parameters


def test_padding_of_any_value_is_dropped() -> None:
    u = np.ones((2, 2, 1), np.float32)
    v = np.ones((2, 1, 2), np.float32)
    u[1, 1], v[1, :, 1] = np.nan, np.nan
    packed = pack(BlastMatrix(u, np.ones((2, 2, 1), np.float32), v, 3, 3))
    assert np.isfinite(packed).all()


def test_float64_and_unordered_factors_are_taken() -> None:
    matrix = integer_matrix(7, 5, (2, 3), 4)
    turned = BlastMatrix(
        np.asfortranarray(matrix.u.astype(np.float64)), matrix.s, np.asfortranarray(matrix.v), 7, 5
    )
    np.testing.assert_array_equal(pack(turned), pack(matrix))


@pytest.mark.parametrize("change", [-1, 1, -48])
def test_unpacking_another_number_of_values_is_refused(change: int) -> None:
    packed = np.zeros(48 + change, np.float32)
    with pytest.raises(InvalidInputError, match=rf"must hold 48 values .* \(got {48 + change}\)"):
        unpack(packed, 1, 1, (1, 1), 1)


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ((0, 1, (1, 1), 1), "out_features is 0, and must be from 1 to 2147483647"),
        ((1, 1, (1, 0), 1), "the number of block columns is 0, and must be from 1 to 2147483647"),
        ((1, 1, (1, 1), 0), "the rank is 0, and must be from 1 to 2147483647"),
        ((2**31 - 1, 1, (1, 1), 2**31 - 1), "the packed factors would exceed"),
    ],
)
def test_impossible_sizes_are_refused(sizes: tuple[int, int, tuple[int, int], int], sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(sentence)):
        packed_size(*sizes)


@settings(max_examples=60)
@given(matrices, st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_kernels_of_all_instruction_sets_are_exact_on_whole_numbers(
    matrix: BlastMatrix, rows: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    x = random.integers(-2, 3, (rows, matrix.in_features)).astype(np.float32)
    bias = random.integers(-9, 10, matrix.out_features).astype(np.float32)
    expected = matrix.apply(x, bias)
    for name in Library().instruction_sets():
        y = linear(pack(matrix), *sizes_of(matrix), x, bias, name)
        np.testing.assert_array_equal(y, expected, err_msg=name)


@pytest.mark.parametrize(
    ("packed", "x", "bias", "name"),
    [
        ((47,), (2, 1), (1,), "packed"),
        ((48,), (2, 2), (1,), "x"),
        ((48,), (2, 1), (2,), "bias"),
    ],
)
def test_arrays_of_wrong_shape_never_reach_the_kernel(
    packed: tuple[int, ...], x: tuple[int, ...], bias: tuple[int, ...], name: str
) -> None:
    factors, rows, offsets = (np.zeros(shape, np.float32) for shape in (packed, x, bias))
    with pytest.raises(InvalidInputError, match=f"{name} must be contiguous float32 of shape"):
        linear(factors, 1, 1, (1, 1), 1, rows, offsets, "x86-64")


def test_arrays_of_another_dtype_never_reach_the_kernel() -> None:
    x = np.zeros((2, 1))
    with pytest.raises(InvalidInputError, match="x must be contiguous float32 of shape"):
        linear(np.zeros(48, np.float32), 1, 1, (1, 1), 1, x, np.zeros(1, np.float32), "x86-64")  # type: ignore[arg-type]


def test_an_unknown_instruction_set_is_refused() -> None:
    zeros = [np.zeros(shape, np.float32) for shape in ((48,), (1, 1), (1,))]
    with pytest.raises(InvalidInputError, match="the instruction set 'avx10' is unknown; this machine has"):
        linear(zeros[0], 1, 1, (1, 1), 1, zeros[1], zeros[2], "avx10")
