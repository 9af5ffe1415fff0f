"""Tensors against float64 truth: complete, finite, of the right shape, and within the bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.reference import Sample
from blast_deploy.results import Comparison
from blast_deploy.tolerance import Deviation, Tolerance, deviation, worst

Arrays = Mapping[str, NDArray[Any]]


def compare_outputs(
    names: Sequence[str],
    actual: Sequence[Arrays],
    samples: Sequence[Sample],
    tolerances: Mapping[str, Tolerance],
) -> tuple[Comparison, ...]:
    """Judge every output over all samples; one comparison for each, and for each that should not be there.

    Args:
        names: The outputs that the artifact declares.
        actual: What the runner gave, sample by sample.
        samples: The float64 reference.
        tolerances: Output name to its bound.
    """
    given = dict.fromkeys(name for outputs in actual for name in outputs)
    expected = dict.fromkeys(name for sample in samples for name in sample.outputs)
    subjects = dict.fromkeys((*names, *expected, *given))
    return tuple(_compare_output(name, names, actual, samples, tolerances) for name in subjects)


def compare_tensors(
    subject: str,
    actual: Sequence[NDArray[Any]],
    truth: Sequence[NDArray[Any]],
    bound: Tolerance,
    described: str,
) -> Comparison:
    """Judge one tensor over all samples; its errors are the worst over them.

    Args:
        subject: Name of the output or layer.
        actual: What the runtime gave, sample by sample.
        truth: The same in float64.
        bound: How far it may be.
        described: What reasons call it.
    """
    for index, (found, expected) in enumerate(zip(actual, truth, strict=True)):
        fault = tensor_fault(found, expected)
        if fault is not None:
            return failure(subject, f"{described}: {fault} in sample {index}", bound)
    error = worst(map(deviation, actual, truth))
    within = error.rms <= bound.rms and error.max <= bound.max
    return Comparison(
        subject=subject,
        verdict="passed" if within else "failed",
        reason="" if within else _excess(described, error, bound),
        rms_error=error.rms,
        max_error=error.max,
        rms_bound=bound.rms,
        max_bound=bound.max,
    )


def tensor_fault(found: NDArray[Any], expected: NDArray[Any]) -> str | None:
    """Why a tensor cannot even be measured against its truth; None when it can."""
    if found.shape != expected.shape:
        return f"shape {found.shape} where {expected.shape} was expected"
    if found.size == 0:
        return "it is empty"
    if not np.isfinite(expected).all():
        return "the float64 reference itself holds NaN or infinity"
    faulty = int(found.size - np.isfinite(found).sum())
    if faulty:
        return f"{faulty} of {found.size} values are NaN or infinite"
    return None


def failure(subject: str, reason: str, bound: Tolerance | None = None) -> Comparison:
    """A comparison that failed before anything could be measured."""
    return Comparison(
        subject=subject,
        verdict="failed",
        reason=reason,
        rms_error=math.nan,
        max_error=math.nan,
        rms_bound=bound.rms if bound else math.nan,
        max_bound=bound.max if bound else math.nan,
    )


def _compare_output(
    name: str,
    declared: Sequence[str],
    actual: Sequence[Arrays],
    samples: Sequence[Sample],
    tolerances: Mapping[str, Tolerance],
) -> Comparison:
    if name not in declared:
        return failure(name, f"output {name} is not one that the artifact declares")
    if name not in tolerances:
        return failure(name, f"output {name} has no tolerance in the manifest")
    for index, (outputs, sample) in enumerate(zip(actual, samples, strict=True)):
        if name not in outputs:
            return failure(name, f"output {name} is missing from what the runner gave for sample {index}")
        if name not in sample.outputs:
            return failure(name, f"output {name} has no float64 reference in sample {index}")
    return compare_tensors(
        name,
        [outputs[name] for outputs in actual],
        [sample.outputs[name] for sample in samples],
        tolerances[name],
        f"output {name}",
    )


def _excess(described: str, error: Deviation, bound: Tolerance) -> str:
    return (
        f"{described}: error rms {error.rms:.2e}, max {error.max:.2e} against float64 exceeds the bound "
        f"rms {bound.rms:.2e}, max {bound.max:.2e}"
    )
