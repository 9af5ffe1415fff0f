from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blast_deploy.tolerance import Deviation, deviation, tolerance, tolerance_fault, worst


def test_a_hand_worked_deviation() -> None:
    truth = np.array([3.0, -4.0, 0.0, 0.0])
    actual = np.array([3.0, -4.0, 0.5, 0.0], dtype=np.float32)
    # Root mean squares: 0.5 / 2 and 5 / 2; largest difference 0.5 where the largest magnitude is 4.
    assert deviation(actual, truth) == Deviation(rms=pytest.approx(0.1), max=pytest.approx(0.125))


@given(st.floats(1e-6, 1e6))
def test_deviation_does_not_depend_on_the_size_of_the_truth(scale: float) -> None:
    truth = np.array([[1.0, 2.0], [3.0, -7.0]])
    actual = truth * (1 + np.array([[1e-3, 0.0], [0.0, -2e-3]]))
    unscaled, scaled = deviation(actual, truth), deviation(actual * scale, truth * scale)
    assert scaled.rms == pytest.approx(unscaled.rms)
    assert scaled.max == pytest.approx(unscaled.max)


def test_a_truth_of_zeros_makes_the_figures_absolute() -> None:
    assert deviation(np.array([0.0, 0.5]), np.zeros(2)).max == 0.5


def test_empty_tensors_agree() -> None:
    assert deviation(np.zeros((0, 3)), np.zeros((0, 3))) == Deviation(0.0, 0.0)


def test_the_worst_is_taken_figure_by_figure() -> None:
    assert worst([Deviation(1.0, 5.0), Deviation(2.0, 4.0)]) == Deviation(2.0, 5.0)
    assert worst([]) == Deviation(0.0, 0.0)


@pytest.mark.parametrize(
    ("body", "dtype", "rms", "maximum"),
    [
        (Deviation(1e-6, 1e-5), "float32", 4e-6, 4e-5),
        (Deviation(1e-8, 1e-8), "float32", 8 * 2.0**-23, 8 * 2.0**-23),
        (Deviation(1e-8, 1e-3), "float16", 8 * 2.0**-10, 8 * 2.0**-10),
        (Deviation(0.0, 0.0), "float64", 8 * 2.0**-52, 8 * 2.0**-52),
        (Deviation(0.0, 0.0), "int64", 0.0, 0.0),
    ],
)
def test_the_bound_follows_from_the_bodys_error(
    body: Deviation, dtype: str, rms: float, maximum: float
) -> None:
    bound = tolerance(body, dtype)
    assert (bound.rms, bound.max) == (pytest.approx(rms), pytest.approx(maximum))
    assert f"rms {body.rms:.2e}" in bound.derivation
    assert dtype in bound.derivation


def test_quantised_models_may_err_twice_what_their_body_does() -> None:
    body = Deviation(0.01, 0.03)
    bound = tolerance(body, "float32", quantised=True)
    assert (bound.rms, bound.max) == (0.02, 0.06)
    assert tolerance_fault(bound, "float32", quantised=True) is None
    assert "its derivation gives" in (tolerance_fault(bound, "float32") or "")


def test_the_largest_error_of_long_sums_may_grow_by_the_root_of_their_additions() -> None:
    body, eps = Deviation(0.0, 0.0), float(np.finfo(np.float32).eps)
    assert tolerance(body, "float32", additions=256) == tolerance(body, "float32")
    bound = tolerance(body, "float32", additions=1600)
    assert (bound.rms, bound.max) == (8 * eps, 20 * eps)
    assert bound.derivation.endswith(f"and max {20 * eps:.2e} for 1600 additions")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_sixteen_bits_are_added_in_float32(dtype: str) -> None:
    """In units of their own, 5000 additions would let a value of 16 bits be wrong by 3% or more."""
    bound, short = (tolerance(Deviation(0.0, 0.0), dtype, additions=count) for count in (5000, 0))
    assert bound.rms == short.rms
    assert bound.max == pytest.approx(short.max if dtype != "float64" else 35.36 * 2**-52, rel=1e-3)


def test_sums_in_the_worst_order_stay_within_the_bound() -> None:
    """One after another, the largest first, in float32: 700 numbers, 2000 sums."""
    random = np.random.default_rng(0)
    terms = random.standard_normal((700, 2000)) * np.geomspace(1, 1e-3, 700)[:, None]
    found = np.zeros(2000, np.float32)
    for row in terms.astype(np.float32):
        found = found + row
    truth = terms.astype(np.float32).astype(np.float64).sum(axis=0)
    assert deviation(found, truth).max <= tolerance(Deviation(0.0, 0.0), "float32", additions=700).max
