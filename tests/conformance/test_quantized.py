"""Every case, with 8 and 4 bits and both meanings of activation, through every implementation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import CASES, Case
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from quantized_implementations import (
    QUANTIZED_IMPLEMENTATIONS,
    QuantizedImplementation,
    numpy_truth,
)
from quantized_problems import QuantizedProblem, check, make_quantized, scaled
from runs import ANY_CASE

RUNS = [
    pytest.param(case, each, bits, activation, id=f"{case.name}-{each.name}-{bits}-{activation}")
    for case in CASES
    for each in QUANTIZED_IMPLEMENTATIONS
    for bits in (8, 4)
    for activation in each.activations
]


@pytest.mark.parametrize(("case", "implementation", "bits", "activation"), RUNS)
def test_within_the_bound(
    case: Case, implementation: QuantizedImplementation, bits: int, activation: Any
) -> None:
    problem = make_quantized(case, bits, activation)
    check(implementation.run(problem), problem)


CHOSEN = [
    each
    for each in QUANTIZED_IMPLEMENTATIONS
    if each.name in ("numpy-truth", "body-in-runtime") or each.name.startswith("kernel")
]


@pytest.mark.parametrize("implementation", CHOSEN, ids=lambda each: each.name)
@settings(max_examples=40, deadline=None)
@given(ANY_CASE, st.sampled_from([8, 4]), st.sampled_from(["float", "int8"]))
def test_any_size_is_within_the_bound(
    implementation: QuantizedImplementation, case: Case, bits: int, activation: Any
) -> None:
    problem = make_quantized(case, bits, activation if activation in implementation.activations else "int8")
    check(implementation.run(problem), problem)


def wrong_scale_of_u(problem: QuantizedProblem) -> NDArray[Any]:
    return numpy_truth(scaled(problem, "u_scale", 1.02))


def wrong_scale_of_v(problem: QuantizedProblem) -> NDArray[Any]:
    return numpy_truth(scaled(problem, "v_scale", 0.98))


def other_activation(problem: QuantizedProblem) -> NDArray[Any]:
    other: Any = "float" if problem.activation == "int8" else "int8"
    return numpy_truth(dataclasses.replace(problem, activation=other))


def lost_component(problem: QuantizedProblem) -> NDArray[Any]:
    uq = problem.matrix.uq.copy()
    uq[:, :, -1] = 0
    return numpy_truth(dataclasses.replace(problem, matrix=dataclasses.replace(problem.matrix, uq=uq)))


def dropped_bias(problem: QuantizedProblem) -> NDArray[Any]:
    return numpy_truth(dataclasses.replace(problem, bias=np.zeros_like(problem.bias)))


FAULTS = (wrong_scale_of_u, wrong_scale_of_v, other_activation, lost_component, dropped_bias)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("activation", ["float", "int8"])
@pytest.mark.parametrize("name", ["divides", "primes", "panel-edges", "transformer"])
def test_a_fault_is_seen(name: str, activation: Any, fault: Callable[[QuantizedProblem], Any]) -> None:
    case = next(case for case in CASES if case.name == name)
    problem = make_quantized(case, 8, activation)
    with pytest.raises(AssertionError):
        check(fault(problem), problem)
