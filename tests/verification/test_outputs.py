from __future__ import annotations

import math

import numpy as np
import pytest

from blast_deploy.reference import Sample
from blast_deploy.tolerance import Deviation, Tolerance
from blast_deploy.verification.outputs import compare_outputs

TRUTH = np.array([[1.0, -2.0], [3.0, 4.0]])
BOUND = Tolerance(rms=1e-5, max=1e-5, body=Deviation(0.0, 0.0), derivation="made up for this test")
SAMPLES = (Sample({}, {"y": TRUTH}), Sample({}, {"y": 2 * TRUTH}))
RIGHT = [{"y": TRUTH.astype(np.float32)}, {"y": (2 * TRUTH).astype(np.float32)}]


def altered(value: float) -> list[dict[str, np.ndarray]]:
    second = RIGHT[1]["y"].copy()
    second[1, 1] = value
    return [RIGHT[0], {"y": second}]


def test_right_outputs_pass() -> None:
    (comparison,) = compare_outputs(["y"], RIGHT, SAMPLES, {"y": BOUND})
    assert comparison.verdict == "passed"
    assert comparison.reason == ""
    assert comparison.rms_error == comparison.max_error == 0
    assert (comparison.rms_bound, comparison.max_bound) == (BOUND.rms, BOUND.max)


def test_one_wrong_value_in_one_sample_fails_with_the_error_and_the_bound() -> None:
    (comparison,) = compare_outputs(["y"], altered(8.1), SAMPLES, {"y": BOUND})
    assert comparison.verdict == "failed"
    assert comparison.max_error == pytest.approx(0.1 / 8, rel=1e-5)
    assert "max 1.25e-02" in comparison.reason
    assert "bound rms 1.00e-05" in comparison.reason


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_fails(value: float) -> None:
    (comparison,) = compare_outputs(["y"], altered(value), SAMPLES, {"y": BOUND})
    assert comparison.verdict == "failed"
    assert "1 of 4 values are NaN or infinite in sample 1" in comparison.reason


def test_a_missing_output_fails() -> None:
    (comparison,) = compare_outputs(["y"], [RIGHT[0], {}], SAMPLES, {"y": BOUND})
    assert comparison.verdict == "failed"
    assert "missing from what the runner gave for sample 1" in comparison.reason


def test_an_extra_output_fails() -> None:
    extra = [{**outputs, "z": TRUTH} for outputs in RIGHT]
    verdicts = {each.subject: each for each in compare_outputs(["y"], extra, SAMPLES, {"y": BOUND})}
    assert verdicts["y"].verdict == "passed"
    assert verdicts["z"].verdict == "failed"
    assert "not one that the artifact declares" in verdicts["z"].reason


def test_a_declared_output_without_reference_fails() -> None:
    samples = (SAMPLES[0], Sample({}, {}))
    (comparison,) = compare_outputs(["y"], RIGHT, samples, {"y": BOUND})
    assert "no float64 reference in sample 1" in comparison.reason


def test_an_output_without_tolerance_fails() -> None:
    (comparison,) = compare_outputs(["y"], RIGHT, SAMPLES, {})
    assert "no tolerance" in comparison.reason


def test_a_wrong_shape_fails() -> None:
    wrong = [{"y": outputs["y"].T[None]} for outputs in RIGHT]
    (comparison,) = compare_outputs(["y"], wrong, SAMPLES, {"y": BOUND})
    assert "shape (1, 2, 2) where (2, 2) was expected" in comparison.reason


def test_an_empty_output_fails() -> None:
    samples = (Sample({}, {"y": np.zeros((0, 2))}),)
    (comparison,) = compare_outputs(["y"], [{"y": np.zeros((0, 2), np.float32)}], samples, {"y": BOUND})
    assert comparison.verdict == "failed"
    assert "it is empty" in comparison.reason


def test_a_reference_that_is_not_finite_fails() -> None:
    samples = (Sample({}, {"y": TRUTH * math.nan}),)
    (comparison,) = compare_outputs(["y"], RIGHT[:1], samples, {"y": BOUND})
    assert comparison.verdict == "failed"
    assert "reference itself" in comparison.reason
