from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blast_deploy.calibration.case import BLAST_CASES as CASES
from blast_deploy.calibration.fit import describe_fit, fit_form, modelled, non_negative
from blast_deploy.results import Form
from blast_deploy.targets import FormCosts

MADE = FormCosts(
    call_microseconds=3.0,
    gigaflops=80.0,
    gigabytes_per_second=25.0,
    block_nanoseconds=10.0,
    values_gigabytes_per_second=40.0,
)


@given(st.integers(0, 2**32 - 1))
def test_constants_that_made_the_times_are_found(seed: int) -> None:
    random = np.random.default_rng(seed)
    work = random.uniform(1, 100, (12, 3))
    constants = random.uniform(0.1, 10, 3) * (random.random(3) < 0.7)
    if not constants.any():
        constants[0] = 1.0
    np.testing.assert_allclose(non_negative(work, work @ constants), constants, rtol=1e-6, atol=1e-9)


def test_no_constant_is_negative() -> None:
    work = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    found = non_negative(work, np.array([3.0, 2.0, 1.0]))
    assert (found >= 0).all()
    assert found[1] == 0


def test_a_form_is_fitted_through_the_planners_own_formula() -> None:
    found, ratios = fit_form("kernel", CASES, modelled("kernel", CASES, MADE))
    for name in MADE.__struct_fields__:
        assert getattr(found, name) == pytest.approx(getattr(MADE, name), rel=0.01), name
    np.testing.assert_allclose(ratios, 1.0, atol=0.01)


@pytest.mark.parametrize("form", ["body", "dense"])
def test_a_constant_that_decides_nothing_does_not_spoil_the_others(form: Form) -> None:
    """The body's rows come by 16, so that reading never takes longest; a dense layer has no blocks."""
    _, ratios = fit_form(form, CASES, modelled(form, CASES, MADE))
    np.testing.assert_allclose(ratios, 1.0, atol=0.01)


def test_dense_layers_have_no_blocks_to_pay_for() -> None:
    found, _ = fit_form("dense", CASES, modelled("dense", CASES, MADE))
    assert found.block_nanoseconds == 0


def test_noise_makes_no_constant_negative_or_infinite() -> None:
    random = np.random.default_rng(5)
    times = random.uniform(1, 1000, len(CASES))
    found, ratios = fit_form("kernel", CASES, times)
    for name in found.__struct_fields__:
        assert 0 <= getattr(found, name) <= 1e12, name
    described = describe_fit("kernel", found, ratios)
    assert described.lowest <= described.median <= described.highest
    assert described.within_tenth < 0.5
