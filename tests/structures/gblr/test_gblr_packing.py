"""The packed layout of GBLR factors against NumPy's reading, and the kernels alone."""

from __future__ import annotations

import gblr_models
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blast_deploy.errors import InvalidInputError
from blast_deploy.native import Library
from blast_deploy.structures.gblr.intervals import IntervalFactor
from blast_deploy.structures.gblr.matrix import GblrMatrix
from blast_deploy.structures.gblr.packing import linear, pack, packed_sizes, unpack

BEST = Library().instruction_sets()[0]


def check_reading(matrix: GblrMatrix) -> None:
    """Components are stored in the order of their first columns."""
    order = np.argsort(matrix.v.starts, kind="stable")
    packed = pack(matrix)
    u, v = unpack(packed)
    np.testing.assert_array_equal(u, matrix.u.dense(np.float32)[order])
    np.testing.assert_array_equal(v, matrix.v.dense(np.float32)[order])
    size, weights = packed_sizes(matrix.u, matrix.v)
    assert packed.size == size
    assert weights >= matrix.cost.parameters


@pytest.mark.parametrize("name", gblr_models.ODD)
def test_numpy_reads_odd_structures_back(name: str) -> None:
    check_reading(gblr_models.odd(name))


@pytest.mark.parametrize("name", ["query_50", "output_50"])
def test_numpy_reads_learned_structures_back(name: str) -> None:
    check_reading(gblr_models.learned(name))


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 300), st.integers(0, 99))
def test_numpy_reads_any_structure_back(m: int, n: int, components: int, seed: int) -> None:
    check_reading(gblr_models.random(m, n, components, seed=seed))


@pytest.mark.parametrize("instruction_set", Library().instruction_sets())
def test_a_row_gives_the_same_bits_beside_others(instruction_set: str) -> None:
    matrix = gblr_models.random(45, 61, 150, dtype=np.float32)
    packed, sizes = pack(matrix), (45, 61, 150)
    generator = np.random.default_rng(0)
    x = generator.standard_normal((70, 61)).astype(np.float32)
    bias = generator.standard_normal(45).astype(np.float32)
    together = linear(packed, sizes, x, bias, instruction_set)
    for threads in (2, 5):
        np.testing.assert_array_equal(linear(packed, sizes, x, bias, instruction_set, threads), together)
    for count in (4, 5, 20):
        np.testing.assert_array_equal(
            linear(packed, sizes, x[:count], bias, instruction_set), together[:count]
        )
    few = linear(packed, sizes, x[:3], bias, instruction_set)
    np.testing.assert_allclose(few, together[:3], rtol=1e-4, atol=1e-4)
    for count in (1, 2):
        np.testing.assert_array_equal(linear(packed, sizes, x[:count], bias, instruction_set), few[:count])


def test_bytes_of_another_matrix_are_refused() -> None:
    packed = pack(gblr_models.odd("wraps-around"))
    x, bias = np.zeros((1, 7), np.float32), np.zeros(11, np.float32)
    with pytest.raises(InvalidInputError, match="their header has other sizes than the node"):
        linear(packed, (11, 7, 4), x, bias, BEST)
    with pytest.raises(InvalidInputError, match="not as many bytes as their header says"):
        linear(packed[:-64], (11, 7, 3), x, bias, BEST)
    with pytest.raises(InvalidInputError, match=r"x must be contiguous float32 of shape \(1, 7\)"):
        linear(packed, (11, 7, 3), x.astype(np.float64), bias, BEST)


def test_more_components_than_indices_tell_apart_are_refused() -> None:
    count = 65536
    zeros, ones = np.zeros(count, np.int64), np.ones(count, np.int64)
    side = IntervalFactor(np.zeros(count, np.float32), zeros, ones, 1)
    with pytest.raises(InvalidInputError, match="the number of components is 65536"):
        packed_sizes(side, side)
