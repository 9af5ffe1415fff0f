"""The constants of a form that give the measured times best, none of them negative."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blast_deploy.calibration.case import Case
from blast_deploy.planning.cost import amounts, microseconds
from blast_deploy.results import CostName, FittedCosts, Form
from blast_deploy.targets import Costs, FormCosts

Float64 = NDArray[np.float64]
_CALL, _BLOCKS, _OPERATIONS, _WEIGHTS, _VALUES = range(5)
_FEW_ROWS = 4
_ATTEMPTS = 20
_LEAST = 1e-6
"""A constant that comes out as zero is written as one too small to matter: rates are never infinite."""


def fit_form(form: Form, cases: Sequence[Case], times: Float64) -> tuple[FormCosts, Float64]:
    """Fit the constants of one form by least squares of relative errors.

    Args:
        form: The form.
        cases: What was timed.
        times: Microseconds, float64 (cases,).

    Returns:
        The constants, and modelled over measured time of each case, float64 (cases,).

    Of arithmetic and reading only the slower counts, so which it is in each case is guessed, the rest
    fitted, and guessed anew by what was found, until the guess holds.
    """
    work = np.array([_work(form, case) for case in cases])
    computing = np.array([case.rows >= _FEW_ROWS for case in cases])
    best, least = np.zeros(work.shape[1]), math.inf
    for _ in range(_ATTEMPTS):
        chosen = work.copy()
        chosen[~computing, _OPERATIONS] = 0.0
        chosen[computing, _WEIGHTS] = 0.0
        found = non_negative(chosen, times)
        residual = float(np.sum((_times(work, found) / times - 1) ** 2))
        if residual < least:
            best, least = found, residual
        now = work[:, _OPERATIONS] * found[_OPERATIONS] >= work[:, _WEIGHTS] * found[_WEIGHTS]
        if (now == computing).all():
            break
        computing = now
    return _constants(best), modelled(form, cases, _constants(best)) / times


def modelled(form: Form, cases: Sequence[Case], constants: FormCosts) -> Float64:
    """Microseconds of each case by the planner's own formula, float64 (cases,)."""
    costs = Costs(origin="", kernel=constants, body=constants, dense=constants)
    return np.array([microseconds(form, case.layer, case.rows, costs) for case in cases])


def describe_fit(name: CostName, constants: FormCosts, ratios: Float64) -> FittedCosts:
    """Say how well constants fit, from modelled over measured times (cases,)."""
    values = {name: getattr(constants, name) for name in constants.__struct_fields__}
    return FittedCosts(
        name=name,
        constants={each: value for each, value in values.items() if value is not None},
        lowest=float(ratios.min()),
        median=float(np.median(ratios)),
        highest=float(ratios.max()),
        within_tenth=float(np.mean(np.abs(ratios - 1) <= 0.1)),
    )


def non_negative(work: Float64, times: Float64) -> Float64:
    """Non-negative x (terms,) that minimises the sum of squares of (work x - times) / times.

    Args:
        work: Float64 (cases, terms).
        times: Float64 (cases,).

    With so few terms every set of those that are not zero can be tried.
    """
    scaled, target = work / times[:, None], np.ones_like(times)
    best, best_residual = np.zeros(work.shape[1]), math.inf
    for count in range(1, work.shape[1] + 1):
        for chosen in itertools.combinations(range(work.shape[1]), count):
            solution = np.linalg.lstsq(scaled[:, chosen], target, rcond=None)[0]
            residual = float(np.sum((scaled[:, chosen] @ solution - target) ** 2))
            if (solution >= 0).all() and residual < best_residual:
                best, best_residual = np.zeros(work.shape[1]), residual
                best[list(chosen)] = solution
    return best


def _work(form: Form, case: Case) -> list[float]:
    done = amounts(form, case.layer, case.rows)
    return [1.0, done.blocks, done.operations, done.weights, done.values]


def _times(work: Float64, found: Float64) -> Float64:
    parts = work * found
    slower: Float64 = np.maximum(parts[:, _OPERATIONS], parts[:, _WEIGHTS])
    total: Float64 = parts[:, _CALL] + parts[:, _BLOCKS] + slower + parts[:, _VALUES]
    return total


def _constants(found: Float64) -> FormCosts:
    """Round to three digits: more would claim more than was measured."""
    call, block, per_operation, per_byte, per_value = (float(f"{max(each, _LEAST):.3g}") for each in found)
    return FormCosts(
        call_microseconds=max(call, 1e-3),
        gigaflops=_rate(per_operation),
        gigabytes_per_second=_rate(per_byte),
        block_nanoseconds=block if found[_BLOCKS] > 0 else 0.0,
        values_gigabytes_per_second=_rate(per_value),
    )


def _rate(time: float) -> float:
    return float(f"{1 / time:.3g}")
