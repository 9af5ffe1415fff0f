"""How far a tensor is from float64 truth, and how far it may be.

The bound is derived, not chosen: four times the error that the standard-operator body itself makes at the
model's dtype on the same inputs, and never below eight units of that dtype's precision. The largest error
alone may also be what a sum of so many numbers probably errs in any order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.element_types import epsilon

BODY_FACTOR = 4
"""Another order of summation may err a few times as much; a wrong value errs thousands of times as much."""
QUANTISED_FACTOR = 2
"""What the body of a model with quantised layers errs is what the quantisation lost, which is the same for
whatever computes the model; only the little that rounding adds differs."""
EPSILON_FACTOR = 8


@dataclass(frozen=True)
class Deviation:
    """Relative distance from the truth.

    Attributes:
        rms: Root mean square of the difference over that of the truth.
        max: Largest difference over the truth's largest magnitude.
    """

    rms: float
    max: float


@dataclass(frozen=True)
class Tolerance:
    """How far one tensor may be from float64, and how that came about.

    Attributes:
        rms: Bound on ``Deviation.rms``.
        max: Bound on ``Deviation.max``.
        body: What the standard-operator body deviates by on the same inputs.
        derivation: The rule with its numbers, in words.
    """

    rms: float
    max: float
    body: Deviation
    derivation: str


def deviation(actual: NDArray[Any], truth: NDArray[Any]) -> Deviation:
    """Measure a tensor against the truth; both must have one shape and be finite.

    A truth of zeros counts as 1 in size, so that the figures are then absolute. Two empty tensors agree.
    """
    if truth.size == 0:
        return Deviation(0.0, 0.0)
    expected = truth.astype(np.float64)
    difference = actual.astype(np.float64) - expected
    rms_size, max_size = _rms(expected), float(np.abs(expected).max())
    return Deviation(
        rms=_rms(difference) / (rms_size or 1.0), max=float(np.abs(difference).max()) / (max_size or 1.0)
    )


def worst(deviations: Iterable[Deviation]) -> Deviation:
    """The larger of each figure; zero of none."""
    gathered = list(deviations)
    return Deviation(
        rms=max((each.rms for each in gathered), default=0.0),
        max=max((each.max for each in gathered), default=0.0),
    )


def tolerance(body: Deviation, dtype: str, *, quantised: bool = False, additions: int = 0) -> Tolerance:
    """Derive the bound from the body's own deviation.

    Args:
        body: What the standard-operator body deviates by.
        dtype: Element type of the tensor in NumPy's spelling; integers and booleans have no precision to
            lose, so they may deviate only where the body does.
        quantised: Whether the tensor is an output of a model with quantised layers, judged by what the model
            gives without.
        additions: The most that can follow each other on the way to one value: they probably err by the
            square root of their number, in halves of a unit (Higham and Mary, SIAM J. Sci. Comput. 41(5),
            2019), which is float32's for types of 16 bits: kernels add those in float32. The body's own sums
            may by chance err much less at the one value that is largest.
    """
    floor = EPSILON_FACTOR * epsilon(dtype)
    adding = math.sqrt(additions) / 2 * min(epsilon(dtype), epsilon("float32"))
    factor = QUANTISED_FACTOR if quantised else BODY_FACTOR
    return Tolerance(
        rms=max(factor * body.rms, floor),
        max=max(factor * body.max, floor, adding),
        body=body,
        derivation=f"max({factor} x the function body's own error in plain ONNX Runtime "
        f"(rms {body.rms:.2e}, max {body.max:.2e}), {EPSILON_FACTOR} x eps of {dtype} ({floor:.2e}))"
        + (f", and max {adding:.2e} for {additions} additions" if adding > floor else ""),
    )


def tolerance_fault(stated: Tolerance, dtype: str, *, quantised: bool = False) -> str | None:
    """Why a bound is not what ``tolerance`` derives from the body's error stated with it; None if it is."""
    body = (stated.body.rms, stated.body.max)
    if not all(math.isfinite(error) and error >= 0 for error in body):
        return f"the body's error must be finite and not negative (it states rms {body[0]}, max {body[1]})"
    derived = tolerance(stated.body, dtype, quantised=quantised)
    if (stated.rms, stated.max) != (derived.rms, derived.max):
        return (
            f"it states rms {stated.rms:.3g}, max {stated.max:.3g}, and its derivation gives "
            f"rms {derived.rms:.3g}, max {derived.max:.3g}"
        )
    if stated.derivation != derived.derivation:
        return f"it is explained as {stated.derivation!r} and not as {derived.derivation!r}"
    return None


def _rms(values: NDArray[np.float64]) -> float:
    largest = float(np.abs(values).max())
    if largest == 0 or not math.isfinite(largest):
        return largest
    # Scaled, because squares of very small or large numbers are zeros or infinite.
    return largest * float(np.sqrt(np.mean(np.square(values / largest))))
