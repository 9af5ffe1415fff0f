"""Each embedding gives exactly the matrix it stands for, at the cost it reports."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.embeddings import (
    from_block_diagonal,
    from_block_low_rank,
    from_low_rank,
)

small = st.integers(1, 7)


@given(small, small, small, st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_low_rank(m: int, n: int, rank: int, blocks: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    left, right = generator.standard_normal((m, rank)), generator.standard_normal((rank, n))
    matrix = from_low_rank(left, right, blocks)
    np.testing.assert_allclose(matrix.dense(), left @ right, rtol=1e-12, atol=1e-12)
    assert matrix.cost.parameters == rank * (m + n) + rank * blocks[0] * blocks[1]


@given(small, small, small, st.integers(1, 4))
def test_block_low_rank(p: int, q: int, t: int, b: int) -> None:
    generator = np.random.default_rng(0)
    left, right = generator.standard_normal((b, b, p, t)), generator.standard_normal((b, b, t, q))
    matrix = from_block_low_rank(left, right)
    expected = np.block([[left[i, j] @ right[i, j] for j in range(b)] for i in range(b)])
    np.testing.assert_allclose(matrix.dense(), expected, rtol=1e-12, atol=1e-12)
    assert matrix.rank == b * t


@given(small, small, st.integers(1, 5))
def test_block_diagonal(p: int, q: int, b: int) -> None:
    blocks = np.random.default_rng(0).standard_normal((b, p, q))
    matrix = from_block_diagonal(blocks)
    expected = np.zeros((b * p, b * q))
    for i in range(b):
        expected[i * p : (i + 1) * p, i * q : (i + 1) * q] = blocks[i]
    np.testing.assert_array_equal(matrix.dense(), expected)
    assert matrix.rank == min(p, q)


def test_square_block_diagonal_costs_twice_its_parameters() -> None:
    matrix = from_block_diagonal(np.ones((4, 32, 32)))
    assert matrix.cost.parameters == 2 * 4 * 32 * 32 + 32 * 16


def test_factors_that_disagree_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="low-rank factors"):
        from_low_rank(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(InvalidInputError, match="block low-rank"):
        from_block_low_rank(np.zeros((2, 3, 4, 1)), np.zeros((2, 3, 1, 4)))
    with pytest.raises(InvalidInputError, match="diagonal blocks"):
        from_block_diagonal(np.zeros((3, 3)))
