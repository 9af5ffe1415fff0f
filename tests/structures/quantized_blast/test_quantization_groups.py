"""Groups of 32: by hand, by definition, and what holds of every one of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from blast_deploy.structures.quantized_blast.groups import quantize_groups

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
VECTORS = st.integers(1, 100).flatmap(lambda width: arrays(np.float32, width, elements=FLOATS))


def test_halves_go_to_even() -> None:
    found = quantize_groups(np.array([[127.0, 0.5, 1.5, -2.5, 1.4, -126.6]], np.float32))
    assert found.values.tolist() == [[127, 0, 2, -2, 1, -127]]
    assert found.scales.tolist() == [[1.0]]


def test_each_group_has_its_own_scale() -> None:
    values = np.zeros(70, np.float32)
    values[0], values[32], values[69] = 254, -1, 127
    found = quantize_groups(values)
    assert found.values[[0, 32, 69]].tolist() == [127, -127, 127]
    assert found.scales.tolist() == [2.0, 1 / 127, 1.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spoils_its_group_alone(bad: float) -> None:
    values = np.ones(64, np.float32)
    values[40] = bad
    found = quantize_groups(values).dequantized()
    assert np.isnan(found[32:]).all()
    assert (found[:32] == 1).all()


@pytest.mark.parametrize("tiny", [0.0, 1e-31, 1e-45])
def test_next_to_nothing_becomes_nothing(tiny: float) -> None:
    assert not quantize_groups(np.full(3, tiny, np.float32)).dequantized().any()


@given(VECTORS)
def test_every_value_is_within_half_a_step(values: np.ndarray) -> None:
    found = quantize_groups(values)
    assert np.abs(found.values).max() <= 127
    assert (found.values == np.rint(found.values)).all()
    steps = np.repeat(found.scales, 32)[: len(values)]
    lost = np.abs(found.dequantized() - values.astype(np.float64))
    assert (lost <= steps * (0.5 + 1e-4) + 1e-30).all()


@given(VECTORS, st.integers(-20, 20))
def test_a_power_of_two_changes_nothing_but_the_scales(values: np.ndarray, power: int) -> None:
    values = np.where(np.abs(values) < 1e-15, np.float32(0), values)
    first, second = quantize_groups(values), quantize_groups(values * np.float32(2.0**power))
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.scales * 2.0**power, second.scales)
