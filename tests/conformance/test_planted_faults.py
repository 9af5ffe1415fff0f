"""The harness itself: it must fail for implementations that are wrong in small ways."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bounds import check
from cases import CASES, Case, Problem, make
from numpy.typing import NDArray

SQUARE = next(case for case in CASES if case.name == "square")
FILLED = [case for case in CASES if 0 not in case.leading]


def compute(problem: Problem, **factors: Any) -> NDArray[Any]:
    """A correct float32 implementation, of changed factors."""
    matrix = dataclasses.replace(problem.matrix, **factors)
    return matrix.apply(problem.x, problem.bias).astype(np.float32)


def transposed_left_factor(problem: Problem) -> NDArray[Any]:
    return compute(problem, u=problem.matrix.u.transpose(0, 2, 1))


def transposed_right_factor(problem: Problem) -> NDArray[Any]:
    return compute(problem, v=problem.matrix.v.transpose(0, 2, 1))


def swapped_coupling(problem: Problem) -> NDArray[Any]:
    return compute(problem, s=problem.matrix.s.transpose(1, 0, 2))


def lost_component(problem: Problem) -> NDArray[Any]:
    u = problem.matrix.u.copy()
    u[:, :, -1] = 0
    return compute(problem, u=u)


def lost_block_column(problem: Problem) -> NDArray[Any]:
    s = problem.matrix.s.copy()
    s[:, 0] = 0
    return compute(problem, s=s)


def dropped_bias(problem: Problem) -> NDArray[Any]:
    return problem.matrix.apply(problem.x).astype(np.float32)


def last_column_unread(problem: Problem) -> NDArray[Any]:
    x = problem.x.copy()
    x[..., -1] = 0
    return problem.matrix.apply(x, problem.bias).astype(np.float32)


def last_row_repeats_the_first(problem: Problem) -> NDArray[Any]:
    y = compute(problem)
    y[-1] = y[0]
    return y


def half_precision_inside(problem: Problem) -> NDArray[Any]:
    halves = {name: getattr(problem.matrix, name).astype(np.float16) for name in ("u", "s", "v")}
    return compute(problem, **halves)


def one_value_is_not_a_number(problem: Problem) -> NDArray[Any]:
    y = compute(problem)
    y.flat[-1] = np.nan
    return y


def double_precision_out(problem: Problem) -> NDArray[Any]:
    return compute(problem).astype(np.float64)


def padded_width_out(problem: Problem) -> NDArray[Any]:
    return np.pad(compute(problem), [(0, 0)] * (problem.x.ndim - 1) + [(0, 1)])


FAULTS = [
    transposed_left_factor,
    transposed_right_factor,
    swapped_coupling,
    lost_component,
    lost_block_column,
    dropped_bias,
    last_column_unread,
    last_row_repeats_the_first,
    half_precision_inside,
    one_value_is_not_a_number,
    double_precision_out,
    padded_width_out,
]


def test_a_correct_implementation_passes() -> None:
    problem = make(SQUARE, np.float32)
    check(compute(problem), problem, np.float32)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault: Callable[[Problem], NDArray[Any]]) -> None:
    problem = make(SQUARE, np.float32)
    with pytest.raises(AssertionError):
        check(fault(problem), problem, np.float32)


@pytest.mark.parametrize("fault", [lost_component, lost_block_column, dropped_bias, last_column_unread])
@pytest.mark.parametrize("case", FILLED, ids=lambda case: case.name)
def test_faults_are_seen_at_every_size(fault: Callable[[Problem], NDArray[Any]], case: Case) -> None:
    if fault is dropped_bias and not case.bias:
        case = dataclasses.replace(case, bias=True)
    problem = make(case, np.float32)
    with pytest.raises(AssertionError):
        check(fault(problem), problem, np.float32)
