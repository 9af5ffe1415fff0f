from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np
import pytest

from blast_deploy.reference import Sample
from blast_deploy.results import TensorSpec
from blast_deploy.tolerance import Deviation, tolerance
from blast_deploy.verification.outputs import compare_outputs

TRUTH = np.array([[1.0, -2.0], [3.0, 4.0]])
BOUND = tolerance(Deviation(2.5e-6, 2.5e-6), "float32")
SPECS = (TensorSpec("y", "float32", (2, 2)),)
SAMPLES = (Sample({}, {"y": TRUTH}), Sample({}, {"y": 2 * TRUTH}))
RIGHT = [{"y": TRUTH.astype(np.float32)}, {"y": (2 * TRUTH).astype(np.float32)}]


def altered(value: float) -> list[dict[str, np.ndarray]]:
    second = RIGHT[1]["y"].copy()
    second[1, 1] = value
    return [RIGHT[0], {"y": second}]


def test_right_outputs_pass() -> None:
    (comparison,) = compare_outputs(SPECS, RIGHT, SAMPLES, {"y": BOUND})
    assert comparison.verdict == "passed"
    assert comparison.reason == "no error at all over all 8 values of 2 samples"
    assert comparison.rms_error == comparison.max_error == 0
    assert (comparison.rms_bound, comparison.max_bound) == (BOUND.rms, BOUND.max)


def test_a_small_error_passes_and_says_by_how_much() -> None:
    near = [{"y": outputs["y"] * np.float32(1 + 2.5e-6)} for outputs in RIGHT]
    (comparison,) = compare_outputs(SPECS, near, SAMPLES, {"y": BOUND})
    assert comparison.verdict == "passed"
    match = re.fullmatch(
        r"error (\S+) times \(rms\) and (\S+) times \(max\) below the bound, over .*", comparison.reason
    )
    assert match is not None
    assert float(match[1]) == pytest.approx(4, rel=0.1)
    assert float(match[2]) == pytest.approx(4, rel=0.1)


def test_one_wrong_value_in_one_sample_fails_with_the_error_and_the_bound() -> None:
    (comparison,) = compare_outputs(SPECS, altered(8.1), SAMPLES, {"y": BOUND})
    assert comparison.verdict == "failed"
    assert comparison.max_error == pytest.approx(0.1 / 8, rel=1e-5)
    assert "max 1.25e-02" in comparison.reason
    assert "bound rms 1.00e-05" in comparison.reason


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_fails(value: float) -> None:
    (comparison,) = compare_outputs(SPECS, altered(value), SAMPLES, {"y": BOUND})
    assert comparison.verdict == "failed"
    assert "1 of 4 values are NaN or infinite in sample 1" in comparison.reason


def test_a_missing_output_fails() -> None:
    (comparison,) = compare_outputs(SPECS, [RIGHT[0], {}], SAMPLES, {"y": BOUND})
    assert comparison.verdict == "failed"
    assert "missing from what the runner gave for sample 1" in comparison.reason


def test_an_extra_output_fails() -> None:
    extra = [{**outputs, "z": TRUTH} for outputs in RIGHT]
    verdicts = {each.subject: each for each in compare_outputs(SPECS, extra, SAMPLES, {"y": BOUND})}
    assert verdicts["y"].verdict == "passed"
    assert verdicts["z"].verdict == "failed"
    assert "not one that the artifact declares" in verdicts["z"].reason


def test_a_declared_output_without_reference_fails() -> None:
    samples = (SAMPLES[0], Sample({}, {}))
    (comparison,) = compare_outputs(SPECS, RIGHT, samples, {"y": BOUND})
    assert "no float64 reference in sample 1" in comparison.reason


def test_an_output_without_tolerance_fails() -> None:
    (comparison,) = compare_outputs(SPECS, RIGHT, SAMPLES, {})
    assert "no tolerance" in comparison.reason


def test_a_wrong_shape_fails() -> None:
    wrong = [{"y": outputs["y"].T[None]} for outputs in RIGHT]
    (comparison,) = compare_outputs(SPECS, wrong, SAMPLES, {"y": BOUND})
    assert "shape (1, 2, 2) where (2, 2) was expected" in comparison.reason


def test_an_empty_output_fails() -> None:
    samples = (Sample({}, {"y": np.zeros((0, 2))}),)
    (comparison,) = compare_outputs(SPECS, [{"y": np.zeros((0, 2), np.float32)}], samples, {"y": BOUND})
    assert comparison.verdict == "failed"
    assert "it is empty" in comparison.reason


def test_a_reference_that_is_not_finite_fails() -> None:
    samples = (Sample({}, {"y": TRUTH * math.nan}),)
    (comparison,) = compare_outputs(SPECS, RIGHT[:1], samples, {"y": BOUND})
    assert comparison.verdict == "failed"
    assert "reference itself" in comparison.reason


@pytest.mark.parametrize("dtype", ["float16", "float64", "int64"])
def test_another_element_type_than_declared_fails(dtype: str) -> None:
    other = [{"y": outputs["y"].astype(dtype)} for outputs in RIGHT]
    (comparison,) = compare_outputs(SPECS, other, SAMPLES, {"y": BOUND})
    assert comparison.verdict == "failed"
    assert comparison.reason == f"output y is {dtype} where the manifest says float32, in sample 0"


def test_a_reference_that_is_not_float64_fails() -> None:
    samples = (SAMPLES[0], Sample({}, {"y": (2 * TRUTH).astype(np.float32)}))
    (comparison,) = compare_outputs(SPECS, RIGHT, samples, {"y": BOUND})
    assert comparison.reason == "output y has a reference that is float32 and no float64, in sample 1"


def test_integers_must_be_equal_where_the_body_is_right() -> None:
    specs = (TensorSpec("y", "int64", (2, 2)),)
    bound = tolerance(Deviation(0.0, 0.0), "int64")
    right = [{"y": TRUTH.astype(np.int64)}, {"y": (2 * TRUTH).astype(np.int64)}]
    assert compare_outputs(specs, right, SAMPLES, {"y": bound})[0].verdict == "passed"
    wrong = [right[0], {"y": right[1]["y"] + 1}]
    assert compare_outputs(specs, wrong, SAMPLES, {"y": bound})[0].verdict == "failed"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rms": 1.0}, "states rms 1, max 1e-05, and its derivation gives rms 1e-05"),
        ({"max": math.inf}, "states rms 1e-05, max inf"),
        ({"rms": math.nan}, "states rms nan"),
        ({"max": -1.0}, "max -1"),
        ({"body": Deviation(math.inf, 0.0)}, "must be finite and not negative"),
        ({"body": Deviation(0.0, math.nan)}, "must be finite and not negative"),
        ({"body": Deviation(-1.0, 0.0)}, "must be finite and not negative"),
        ({"body": Deviation(0.1, 0.1)}, "its derivation gives rms 0.4"),
        ({"derivation": "as I like it"}, "explained as 'as I like it'"),
    ],
)
def test_a_bound_that_was_not_derived_lets_nothing_pass(changes: dict[str, Any], message: str) -> None:
    (comparison,) = compare_outputs(SPECS, RIGHT, SAMPLES, {"y": dataclasses.replace(BOUND, **changes)})
    assert comparison.verdict == "failed"
    assert "has a tolerance in the manifest that was not derived" in comparison.reason
    assert message in comparison.reason


def test_a_tolerance_for_no_output_fails() -> None:
    comparisons = compare_outputs(SPECS, RIGHT, SAMPLES, {"y": BOUND, "z": BOUND})
    assert [each.verdict for each in comparisons] == ["passed", "failed"]


def test_a_bound_so_wide_that_zeros_pass_judges_nothing() -> None:
    """A body that itself errs by a quarter of the values leaves room for an artifact that gives none."""
    bound = tolerance(Deviation(0.25, 0.3), "float32")
    zeros = [{"y": np.zeros((2, 2), np.float32)}] * 2
    for outputs in (zeros, RIGHT):
        (comparison,) = compare_outputs(SPECS, outputs, SAMPLES, {"y": bound})
        assert comparison.verdict == "unjudged"
        assert "so wide that zeros would pass" in comparison.reason
    narrower = tolerance(Deviation(0.24, 0.3), "float32")
    assert compare_outputs(SPECS, zeros, SAMPLES, {"y": narrower})[0].verdict == "failed"


def test_nothing_to_compare_is_no_pass() -> None:
    assert compare_outputs(SPECS, [], [], {"y": BOUND})[0].verdict == "failed"
