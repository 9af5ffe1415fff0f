"""Tensors against float64 truth: complete, finite, of the right type and shape, and within the bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.reference import Sample
from blast_deploy.results import Comparison, TensorSpec, Verdict
from blast_deploy.tolerance import Deviation, Tolerance, deviation, tolerance_fault, worst
from blast_deploy.verification.words import counted

Arrays = Mapping[str, NDArray[Any]]

WIDEST_BOUND = 1.0
"""From this bound on (root mean square) zeros would pass for the truth."""


def compare_outputs(
    declared: Sequence[TensorSpec],
    actual: Sequence[Arrays],
    samples: Sequence[Sample],
    tolerances: Mapping[str, Tolerance],
    *,
    quantised: bool = False,
) -> tuple[Comparison, ...]:
    """Judge every output over all samples; one comparison for each, and for each that should not be there.

    Args:
        declared: The outputs of the artifact.
        actual: What the runner gave, sample by sample.
        samples: The float64 reference.
        tolerances: Output name to its bound, which must be what its derivation gives.
        quantised: Whether the model has quantised layers, for which that is another.
    """
    specs = {spec.name: spec for spec in declared}
    given = dict.fromkeys(name for outputs in actual for name in outputs)
    expected = dict.fromkeys(name for sample in samples for name in sample.outputs)
    subjects = dict.fromkeys((*specs, *expected, *given, *tolerances))
    return tuple(
        _compare_output(name, specs.get(name), actual, samples, tolerances, quantised) for name in subjects
    )


def compare_tensors(
    subject: str,
    actual: Sequence[NDArray[Any]],
    truth: Sequence[NDArray[Any]],
    bound: Tolerance,
    described: str,
    over: str,
) -> Comparison:
    """Judge one tensor over all samples; its errors are the worst over them.

    Args:
        subject: Name of the output or layer.
        actual: What the runtime gave, sample by sample.
        truth: The same in float64.
        bound: How far it may be.
        described: What reasons call it.
        over: What it is compared over, in words.
    """
    if not actual:
        return failure(subject, f"{described}: there is nothing to compare it over", bound)
    for index, (found, expected) in enumerate(zip(actual, truth, strict=True)):
        fault = tensor_fault(found, expected)
        if fault is not None:
            return failure(subject, f"{described}: {fault} in sample {index}", bound)
    error = worst(map(deviation, actual, truth))
    verdict, reason = _judge(error, bound, described, over)
    return Comparison(
        subject=subject,
        verdict=verdict,
        reason=reason,
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


def carries(array: NDArray[Any], dtype: str) -> bool:
    """Whether an array is of an element type; NumPy, which lacks bfloat16, may carry it in float32."""
    return array.dtype.name == dtype or (dtype == "bfloat16" and array.dtype.name == "float32")


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
    spec: TensorSpec | None,
    actual: Sequence[Arrays],
    samples: Sequence[Sample],
    tolerances: Mapping[str, Tolerance],
    quantised: bool,
) -> Comparison:
    if spec is None:
        return failure(name, f"output {name} is not one that the artifact declares")
    if name not in tolerances:
        return failure(name, f"output {name} has no tolerance in the manifest")
    bound = tolerances[name]
    fault = tolerance_fault(bound, spec.dtype, quantised=quantised)
    if fault is not None:
        return failure(
            name, f"output {name} has a tolerance in the manifest that was not derived: {fault}", bound
        )
    for index, (outputs, sample) in enumerate(zip(actual, samples, strict=True)):
        fault = _sample_fault(spec, outputs, sample)
        if fault is not None:
            return failure(name, f"output {name} {fault} sample {index}", bound)
    return compare_tensors(
        name,
        [outputs[name] for outputs in actual],
        [sample.outputs[name] for sample in samples],
        bound,
        f"output {name}",
        f"all {sum(outputs[name].size for outputs in actual)} values of {counted(len(samples), 'sample')}",
    )


def _sample_fault(spec: TensorSpec, outputs: Arrays, sample: Sample) -> str | None:
    """What is wrong with an output of one sample before its numbers are looked at."""
    if spec.name not in outputs:
        return "is missing from what the runner gave for"
    if spec.name not in sample.outputs:
        return "has no float64 reference in"
    found, truth = outputs[spec.name].dtype, sample.outputs[spec.name].dtype
    if not carries(outputs[spec.name], spec.dtype):
        return f"is {found} where the manifest says {spec.dtype}, in"
    if truth != np.float64:
        return f"has a reference that is {truth} and no float64, in"
    return None


def _judge(error: Deviation, bound: Tolerance, described: str, over: str) -> tuple[Verdict, str]:
    # Written so that NaN fails.
    if not (error.rms <= bound.rms and error.max <= bound.max):
        return "failed", (
            f"{described}: error rms {error.rms:.2e}, max {error.max:.2e} against float64 exceeds the bound "
            f"rms {bound.rms:.2e}, max {bound.max:.2e}, over {over}"
        )
    if bound.rms >= WIDEST_BOUND:
        return "unjudged", (
            f"{described}: the bound rms {bound.rms:.2e} is so wide that zeros would pass, because the "
            f"function body itself errs by {bound.body.rms:.2e}; give other samples or a wider element type"
        )
    if error.max == 0:
        return "passed", f"no error at all over {over}"
    margins = bound.rms / (error.rms or error.max), bound.max / error.max
    return (
        "passed",
        f"error {margins[0]:.3g} times (rms) and {margins[1]:.3g} times (max) below the bound, over {over}",
    )
