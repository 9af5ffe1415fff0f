"""Intervals and values against what trying everything finds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from blast_deploy.compression import interval_choice
from blast_deploy.compression.interval_budget import cut_to, grow_to
from blast_deploy.compression.interval_choice import Side, best_interval, choose, choose_coupled, parts
from blast_deploy.compression.interval_values import refine, refine_coupled


def covered(start: int, width: int, size: int) -> NDArray[np.bool_]:
    return (np.arange(size) - start) % size < width


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9))
def test_no_interval_is_worth_more(gains: list[int]) -> None:
    values, size = np.array(gains, float), len(gains)
    start, width = best_interval(values)
    best = max(
        [values[covered(first, count, size)].sum() for first in range(size) for count in range(1, size + 1)]
    )
    assert 0 <= start < size
    assert 0 <= width <= size
    assert values[covered(start, width, size)].sum() == max(best, 0)
    assert (width == 0) == (best <= 0)
    filled = np.zeros(size, bool)
    for part in parts(start, width, size):
        filled[part] = True
    np.testing.assert_array_equal(filled, covered(start, width, size))


def problem(seed: int = 0, count: int = 4, size: int = 9, rows: int = 7) -> tuple[Any, ...]:
    """Random components, a weight, and the metric of some inputs."""
    random = np.random.default_rng(seed)
    left, right = random.standard_normal((count, rows)), random.standard_normal((count, size))
    weight = random.standard_normal((rows, size))
    inputs = random.standard_normal((size, 3 * size))
    return left, right, weight, inputs @ inputs.T / size


def squared_error(weight: Any, left: Any, right: Any, metric: Any) -> float:
    difference = weight - left.T @ right
    return float((difference @ metric * difference).sum())


def test_a_choice_is_the_best_for_one_component() -> None:
    left, right, weight, _ = problem(count=1)
    side, price = Side.full(right.copy()), 0.4
    choose(side, left @ left.T, left @ weight, price, [0])
    found = squared_error(weight, left, side.vectors, np.eye(9)) + price * side.widths[0]
    ideal = (left @ weight) / (left @ left.T)
    for start in range(9):
        for width in range(10):
            other = np.where(covered(start, width, 9), ideal, 0)
            assert found <= squared_error(weight, left, other, np.eye(9)) + price * width + 1e-12


@pytest.mark.parametrize("coupled", [False, True])
def test_choices_never_raise_error_and_price_together(coupled: bool) -> None:
    left, right, weight, metric = problem()
    metric = metric if coupled else np.eye(9)
    side, price = Side.full(right.copy()), 0.3
    gram, products = left @ left.T, left @ weight @ metric
    values = []
    for _ in range(6):
        if coupled:
            choose_coupled(side, gram, products - gram @ side.vectors @ metric, metric, price, range(4))
        else:
            choose(side, gram, products, price, range(4))
        values.append(squared_error(weight, left, side.vectors, metric) + price * int(side.widths.sum()))
        inside = np.array([covered(*each, 9) for each in zip(side.starts, side.widths, strict=True)])
        assert not side.vectors[~inside].any()
        np.testing.assert_array_equal(side.mask(), inside)
    if not coupled:  # what is coupled is chosen by an estimate
        assert all(later <= earlier + 1e-9 for earlier, later in pairwise(values))
    assert values[-1] < values[0]


@pytest.mark.parametrize("changes", [1, 2, 3, 32])
def test_the_residual_is_kept_up_to_date(monkeypatch: pytest.MonkeyPatch, changes: int) -> None:
    monkeypatch.setattr(interval_choice, "_CHANGES", changes)
    left, right, weight, metric = problem()
    side, gram, products = Side.full(right.copy()), left @ left.T, left @ weight @ metric
    residual = products - gram @ side.vectors @ metric
    choose_coupled(side, gram, residual, metric, 0.3, [2, 0, 1, 3])
    np.testing.assert_allclose(residual, products - gram @ side.vectors @ metric, atol=1e-9)


def test_components_that_nothing_answers_die() -> None:
    left, right, weight, metric = problem()
    left[1] = 0
    for coupled in (False, True):
        side, gram = Side.full(right.copy()), left @ left.T
        if coupled:
            residual = left @ weight @ metric - gram @ side.vectors @ metric
            choose_coupled(side, gram, residual, metric, 0.1, range(4))
        else:
            choose(side, gram, left @ weight, 0.1, range(4))
        assert side.widths[1] == 0
        assert not side.vectors[1].any()


def test_values_become_those_of_least_squares() -> None:
    left, right, weight, _ = problem()
    side = Side.full(right.copy())
    side.starts[:], side.widths[:] = [0, 3, 7, 5], [9, 4, 5, 1]
    mask = side.mask()
    vectors = right * mask
    refine(vectors, left @ left.T, left @ weight, mask, 60)
    for column in range(9):
        chosen = mask[:, column] > 0
        exact = np.linalg.lstsq(left[chosen].T, weight[:, column], rcond=None)[0]
        np.testing.assert_allclose(vectors[chosen, column], exact, atol=1e-8)
        assert not vectors[~chosen, column].any()


def test_coupled_values_become_those_of_least_squares() -> None:
    left, right, weight, metric = problem()
    side = Side.full(right.copy())
    side.starts[:], side.widths[:] = [0, 3, 7, 5], [9, 4, 5, 1]
    mask = side.mask()
    vectors = right * mask
    gram, products = left @ left.T, left @ weight @ metric
    refine_coupled(vectors, gram, products, metric, np.linalg.inv(metric), mask, 200)
    inside = mask.ravel() > 0
    exact = np.linalg.solve(np.kron(gram, metric)[np.ix_(inside, inside)], products.ravel()[inside])
    np.testing.assert_allclose(vectors.ravel()[inside], exact, atol=1e-7)
    assert not vectors.ravel()[~inside].any()


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_solution_stays_a_solution(steps: int) -> None:
    left, _, _, metric = problem()
    right = np.zeros((4, 9))
    refine(right, left @ left.T, left @ np.zeros((7, 9)), np.ones((4, 9)), steps)
    refine_coupled(
        right, left @ left.T, np.zeros((4, 9)), metric, np.linalg.inv(metric), np.ones((4, 9)), steps
    )
    assert not right.any()


def sides() -> tuple[Side, Side]:
    left, right, _, _ = problem()
    made = Side.full(left.copy()), Side.full(right.copy())
    made[0].widths[:], made[0].starts[:] = [7, 2, 1, 4], [0, 6, 3, 5]
    made[1].widths[:], made[1].starts[:] = [9, 1, 3, 2], [0, 4, 8, 7]
    for side in made:
        side.vectors *= side.mask()
    return made


@pytest.mark.parametrize("budget", [29, 28, 20, 9, 2, 0])
def test_cutting_meets_the_budget_from_the_ends(budget: int) -> None:
    before, after = sides(), sides()
    cut_to(after, [np.square(side.vectors) for side in before], budget)
    counts = [int(side.widths.sum()) for side in after]
    # A component that loses a side loses more than one entry at once.
    assert budget - 9 <= sum(counts) <= budget
    for old, new in zip(before, after, strict=True):
        assert not (new.mask() > old.mask()).any()
        np.testing.assert_array_equal(new.vectors, old.vectors * new.mask())
    assert ((after[0].widths > 0) == (after[1].widths > 0)).all()


def test_cutting_takes_what_is_worth_least() -> None:
    side, other = Side.full(np.ones((1, 5))), Side.full(np.ones((1, 4)))
    gains = np.array([[1.0, 9.0, 0.1, 9.0, 3.0]])
    cut_to((side, other), (gains, np.full((1, 4), 99.0)), 7)
    # The least of all, 0.1, is in the middle: at the ends of the full circle are 1 and 3.
    assert (side.starts[0], side.widths[0], other.widths[0]) == (1, 3, 4)


@pytest.mark.parametrize("budget", [29, 30, 40, 64, 999])
def test_growing_meets_the_budget_at_the_ends(budget: int) -> None:
    before, after = sides(), sides()
    gains = [np.random.default_rng(1).random(side.vectors.shape) for side in before]
    grow_to(after, gains, budget)
    most = sum(side.vectors.size for side in before)
    assert sum(int(side.widths.sum()) for side in after) == min(budget, most)
    for old, new in zip(before, after, strict=True):
        assert not (new.mask() < old.mask()).any()
        np.testing.assert_array_equal(new.vectors, old.vectors)


def test_growing_takes_what_is_worth_most() -> None:
    side, other = Side.full(np.zeros((1, 6))), Side.full(np.ones((1, 4)))
    side.starts[:], side.widths[:] = 0, 2
    grow_to((side, other), (np.array([[0.0, 0, 1, 9, 4, 3]]), np.zeros((1, 4))), 8)
    assert (side.starts[0], side.widths[0]) == (4, 4)
