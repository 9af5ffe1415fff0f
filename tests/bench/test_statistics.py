"""Statistics against data whose answer is known; nothing here is timed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blast_deploy.bench.statistics import (
    MARGIN,
    WIDEST,
    RatioInterval,
    bootstrap_ratio,
    is_steady,
    summarise,
    word_for,
)


def test_percentiles_of_a_known_sequence() -> None:
    summary = summarise(np.random.default_rng(0).permutation(np.arange(101.0)))
    assert (summary.median, summary.p50, summary.p90, summary.p99) == (50.0, 50.0, 90.0, 99.0)
    assert summary.spread == 50.0
    assert summary.runs == 101


def test_a_single_run_has_no_spread() -> None:
    summary = summarise([3.0])
    assert (summary.median, summary.p99, summary.spread, summary.runs) == (3.0, 3.0, 0.0, 1)


def test_an_outlier_moves_the_tail_and_not_the_median() -> None:
    summary = summarise([1.0] * 99 + [1000.0])
    assert summary.median == 1.0
    assert summary.p99 > 1.0


def test_bootstrap_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    truth, trials, rounds, covered = 1.5, 400, 30, 0
    for trial in range(trials):
        drift = np.exp(np.cumsum(random.normal(0, 0.05, rounds)))  # the machine speeds up and slows down
        contender = drift * np.exp(random.normal(0, 0.03, rounds))
        baseline = truth * drift * np.exp(random.normal(0, 0.03, rounds))
        interval = bootstrap_ratio(baseline, contender, seed=trial, resamples=400)
        covered += interval.low <= truth <= interval.high
    assert 0.90 <= covered / trials <= 0.99


def test_drift_that_both_share_does_not_widen_the_interval() -> None:
    drift = np.linspace(1.0, 5.0, 25)
    interval = bootstrap_ratio(2.0 * drift, drift)
    assert (interval.low, interval.median, interval.high) == pytest.approx((2.0, 2.0, 2.0))


def test_the_ratio_is_baseline_over_contender() -> None:
    assert bootstrap_ratio([10.0] * 12, [5.0] * 12).median == 2.0


@given(
    st.lists(st.floats(0.1, 10.0), min_size=2, max_size=40),
    st.floats(0.01, 100.0),
)
def test_the_unit_of_time_does_not_matter(times: list[float], unit: float) -> None:
    baseline, contender = np.array(times), np.array(times[::-1])
    plain, scaled = (bootstrap_ratio(baseline * by, contender * by, resamples=50) for by in (1.0, unit))
    assert (scaled.low, scaled.median, scaled.high) == pytest.approx((plain.low, plain.median, plain.high))
    assert plain.low <= plain.median <= plain.high


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (1.9, 2.1, "faster"),
        (1.0 + 1.01 * MARGIN, 3.0, "faster"),
        (1.0 + 0.99 * MARGIN, 1.05, "no difference"),
        (0.97, 1.03, "no difference"),
        (0.5, 0.6, "slower"),
        (1.0 / (1.0 + 0.99 * MARGIN), 1.02, "no difference"),
        (0.8, 1.0 + WIDEST, "unjudged"),
        (1.0 + 0.5 * MARGIN, 1.5, "unjudged"),
    ],
)
def test_words(low: float, high: float, word: str) -> None:
    assert word_for(RatioInterval((low + high) / 2, low, high)) == word


@given(st.floats(0.01, 100.0), st.floats(1.0, 3.0))
def test_faster_one_way_is_slower_the_other(low: float, widening: float) -> None:
    high = low * widening
    forward = word_for(RatioInterval(low, low, high))
    backward = word_for(RatioInterval(1 / high, 1 / high, 1 / low))
    opposite = {"faster": "slower", "slower": "faster"}
    if forward in opposite and abs(low - 1.0 - MARGIN) > 1e-9 and abs(1.0 / high - 1.0 - MARGIN) > 1e-9:
        assert backward == opposite[forward]


def test_steady_needs_two_windows_that_agree() -> None:
    assert not is_steady([1.0] * 9)
    assert is_steady([1.0] * 10)
    assert is_steady([9.0, 5.0] + [1.0] * 10)
    assert not is_steady([2.0] * 5 + [1.0] * 5)
    assert is_steady([1.0] * 5 + [1.04] * 5)
    assert is_steady([1.0] * 9 + [50.0])  # one disturbance does not count
