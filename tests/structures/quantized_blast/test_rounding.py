"""Scales and rounding: by hand, against trying everything, and what the metric is for."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blast_deploy.structures.quantized_blast.rounding import block_scales, feedback, round_rows


def test_eight_bits_take_the_greatest_to_127() -> None:
    found = block_scales(np.array([[1.0, -254.0, 3.0], [0.5, 0.25, 0.0]]), 8, 3)
    assert found.tolist() == [[2.0], [np.float32(0.5 / 127)]]


def test_four_bits_reach_the_greatest_by_minus_eight() -> None:
    found = block_scales(np.array([[16.0, -2.0, 14.0, 4.0]]), 4, 4)
    assert found.tolist() == [[-2.0]]
    np.testing.assert_array_equal(np.rint(np.array([16.0, -2.0, 14.0, 4.0]) / found[0]), [-8, 1, -7, -2])


def test_blocks_of_a_row_are_scaled_apart_and_the_last_may_be_short() -> None:
    found = block_scales(np.array([[127.0, 1.0, 254.0, 3.0, 381.0]]), 8, 2)
    assert found.tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize("bits", [8, 4])
def test_zeros_have_a_scale(bits: int) -> None:
    found = block_scales(np.zeros((2, 5)), bits, 32)
    assert (np.abs(found) >= np.finfo(np.float32).tiny).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([32, 64]))
def test_scales_of_four_bits_are_bfloat16_numbers(seed: int, block_size: int) -> None:
    values = np.random.default_rng(seed).standard_normal((3, 70))
    found = block_scales(values, 4, block_size)
    np.testing.assert_array_equal(found, found.astype(ml_dtypes.bfloat16).astype(np.float32))


@given(st.integers(0, 2**32 - 1), st.integers(1, 130))
def test_without_a_metric_it_is_plain_rounding(seed: int, width: int) -> None:
    values = np.random.default_rng(seed).standard_normal((4, width))
    scales = np.full(values.shape, 0.05)
    found = round_rows(values, scales, 8, feedback(np.eye(width)))
    np.testing.assert_array_equal(found, np.clip(np.rint(values / 0.05), -128, 127))


def test_an_error_is_made_good_by_the_next_weight() -> None:
    # Both columns carry the same input: 0.4 becomes 0, and 0.4 + 0.4 becomes 1.
    metric = np.ones((2, 2))
    found = round_rows(np.array([[0.4, 0.4]]), np.ones((1, 2)), 8, feedback(metric))
    assert found.tolist() == [[0, 1]]


@given(st.integers(0, 2**32 - 1))
def test_it_is_near_the_best_of_the_nearby_roundings(seed: int) -> None:
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((6, 5))
    metric = mixing.T @ mixing
    values = random.uniform(-3, 3, (1, 5))

    def error(candidate: np.ndarray) -> float:
        difference = values[0] - candidate
        return float(difference @ metric @ difference)

    found = error(round_rows(values, np.ones((1, 5)), 8, feedback(metric))[0])
    corners = itertools.product(*((np.floor(value) - 1 + np.arange(4)) for value in values[0]))
    best = min(error(np.array(corner)) for corner in corners)
    # Babai's bound for five dimensions is far wider; what matters is that no rounding is a surprise.
    assert found <= max(30 * best, error(np.rint(values[0])) + 1e-9, best + np.trace(metric) / 4)
