"""GBLR truth against the definition written out entry by entry, hand-worked cases, and embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.gblr.embeddings import Block, from_block_sparse, from_low_rank
from blast_deploy.structures.gblr.intervals import IntervalFactor, covering_intervals
from blast_deploy.structures.gblr.matrix import GblrMatrix


def integers(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def random_factor(starts: list[int], widths: list[int], size: int, seed: int = 0) -> IntervalFactor:
    values = np.random.default_rng(seed).standard_normal(sum(widths))
    return IntervalFactor(values, integers(*starts), integers(*widths), size)


def by_definition(matrix: GblrMatrix) -> NDArray[np.float64]:
    """Entry by entry, with the mask as the findings give it: ((index - start) mod size) < width."""
    weight = np.zeros((matrix.out_features, matrix.in_features))
    u_first = v_first = 0
    for k in range(matrix.components):
        for i in range(matrix.out_features):
            row = (i - matrix.u.starts[k]) % matrix.out_features
            for j in range(matrix.in_features):
                column = (j - matrix.v.starts[k]) % matrix.in_features
                if row < matrix.u.widths[k] and column < matrix.v.widths[k]:
                    weight[i, j] += matrix.u.values[u_first + row] * matrix.v.values[v_first + column]
        u_first += matrix.u.widths[k]
        v_first += matrix.v.widths[k]
    return weight


@st.composite
def matrices(draw: Callable[..., Any]) -> GblrMatrix:
    m, n, count = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(0, 5))

    def side(size: int, seed: int) -> IntervalFactor:
        starts = draw(st.lists(st.integers(0, size - 1), min_size=count, max_size=count))
        widths = draw(st.lists(st.integers(1, size), min_size=count, max_size=count))
        return random_factor(starts, widths, size, seed)

    return GblrMatrix(side(m, 1), side(n, 2))


def test_a_case_by_hand() -> None:
    """Component 0 wraps around the rows and has one column; component 1 covers everything."""
    u = IntervalFactor(np.array([1.0, 2.0, 1.0, 1.0, 1.0]), integers(2, 0), integers(2, 3), 3)
    v = IntervalFactor(np.array([10.0, 1.0, 2.0]), integers(1, 0), integers(1, 2), 2)
    matrix = GblrMatrix(u, v)
    np.testing.assert_array_equal(matrix.dense(), [[1, 22], [1, 2], [1, 12]])
    np.testing.assert_array_equal(matrix.apply(np.array([1.0, 2.0]), np.array([0.0, 0.0, 1.0])), [45, 5, 26])
    assert (matrix.cost.parameters, matrix.cost.flops_per_row, matrix.indices) == (8, 16, 8)


@given(matrices(), st.lists(st.integers(0, 3), max_size=2))
def test_dense_and_apply_are_the_definition(matrix: GblrMatrix, leading: list[int]) -> None:
    expected = by_definition(matrix)
    np.testing.assert_allclose(matrix.dense(), expected, atol=1e-13)
    x = np.random.default_rng(3).standard_normal((*leading, matrix.in_features))
    bias = np.arange(matrix.out_features, dtype=float)
    y = matrix.apply(x, bias)
    assert y.shape == (*leading, matrix.out_features)
    np.testing.assert_allclose(y, x @ expected.T + bias, atol=1e-12)
    assert matrix.cost.parameters == matrix.u.widths.sum() + matrix.v.widths.sum()


def test_without_components_it_is_the_zero_matrix() -> None:
    matrix = GblrMatrix(random_factor([], [], 4), random_factor([], [], 3))
    assert (matrix.components, matrix.cost.parameters) == (0, 0)
    np.testing.assert_array_equal(matrix.dense(), np.zeros((4, 3)))
    np.testing.assert_array_equal(matrix.apply(np.ones((2, 3)), np.arange(4.0)), [[0, 1, 2, 3]] * 2)


def test_dense_rows_come_back() -> None:
    factor = random_factor([5, 0, 3], [4, 7, 1], 7)
    again = IntervalFactor.from_dense(factor.dense(), factor.starts, factor.widths)
    np.testing.assert_array_equal(again.values, factor.values)


@pytest.mark.parametrize(
    ("row", "start", "width"),
    [
        ([0, 0, 0, 0], 0, 0),
        ([0, 3, 0, 0], 1, 1),
        ([1, 0, 0, 2], 3, 2),
        ([1, 2, 3, 4], 0, 4),
        ([0, 1, 0, 1], 1, 3),
        ([1, 1, 0, 1], 3, 3),
        ([5], 0, 1),
    ],
)
def test_covering_interval(row: list[int], start: int, width: int) -> None:
    starts, widths = covering_intervals(np.array([row]))
    assert (starts[0], widths[0]) == (start, width)


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_the_covering_interval_is_the_shortest(filled: list[bool]) -> None:
    row = np.array(filled)
    (start,), (width,) = covering_intervals(row[np.newaxis])
    size = len(row)

    def covers(start: int, width: int) -> bool:
        return not row[(np.arange(size) - start) % size >= width].any()

    assert covers(start, width)
    assert width == 0 or not any(covers(other, width - 1) for other in range(size))


def test_covering_intervals_of_nothing() -> None:
    starts, widths = covering_intervals(np.zeros((0, 5)))
    assert (starts.shape, widths.shape, starts.dtype) == ((0,), (0,), np.int64)


def test_low_rank_is_exact_at_its_own_cost() -> None:
    random = np.random.default_rng(0)
    left, right = random.standard_normal((7, 3)), random.standard_normal((3, 5))
    matrix = from_low_rank(left, right)
    np.testing.assert_allclose(matrix.dense(), left @ right, atol=1e-14)
    assert matrix.cost.parameters == 3 * (7 + 5)
    with pytest.raises(InvalidInputError, match="low-rank factors"):
        from_low_rank(left, right.T)


def test_block_sparse_is_exact_and_tells_its_cost() -> None:
    random = np.random.default_rng(0)
    tall, wide, single = (random.standard_normal(shape) for shape in ((4, 2), (2, 3), (1, 1)))
    matrix = from_block_sparse([Block(0, 0, tall), Block(3, 2, wide), Block(6, 4, single)], 7, 5)
    expected = np.zeros((7, 5))
    expected[:4, :2] += tall
    expected[3:5, 2:] += wide
    expected[6, 4] += single[0, 0]
    np.testing.assert_allclose(matrix.dense(), expected, atol=1e-15)
    assert matrix.cost.parameters == (8 + 2) + (6 + 2) + (1 + 1)
    assert from_block_sparse([], 3, 2).components == 0


@pytest.mark.parametrize("block", [Block(5, 0, np.ones((3, 1))), Block(0, -1, np.ones((1, 1)))])
def test_a_block_past_the_edge_is_refused(block: Block) -> None:
    with pytest.raises(InvalidInputError, match="reaches past"):
        from_block_sparse([block], 7, 5)


def test_an_empty_block_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not empty"):
        from_block_sparse([Block(0, 0, np.ones((0, 2)))], 7, 5)


@pytest.mark.parametrize(
    ("values", "starts", "widths", "size", "message"),
    [
        (2, integers(0), integers(3), 5, r"values must be \(3,\)"),
        (3, integers(5), integers(3), 5, "starts must lie in 0 .. 4"),
        (3, integers(-1), integers(3), 5, "starts must lie in 0 .. 4"),
        (0, integers(0), integers(0), 5, "widths must lie in 1 .. 5"),
        (6, integers(0), integers(6), 5, "widths must lie in 1 .. 5"),
        (3, integers(0, 1), integers(3), 5, "as many starts as widths"),
        (3, np.array([0.0]), integers(3), 5, "starts must be int64"),
        (0, integers(), integers(), 0, "at least one entry"),
    ],
)
def test_what_makes_no_factor_is_refused(
    values: int, starts: NDArray[Any], widths: NDArray[Any], size: int, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        IntervalFactor(np.zeros(values), starts, widths, size)


def test_sides_of_other_counts_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="as many left as right vectors"):
        GblrMatrix(random_factor([0], [1], 3), random_factor([], [], 3))


def test_another_width_is_refused() -> None:
    matrix = GblrMatrix(random_factor([0], [1], 3), random_factor([1], [2], 4))
    with pytest.raises(InvalidInputError, match="must be 4"):
        matrix.apply(np.ones((2, 3)))
