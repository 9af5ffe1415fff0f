"""From run times to figures: percentiles, ratios with intervals, and the word for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Word = Literal["faster", "slower", "no difference", "unjudged"]

CONFIDENCE = 0.95
RESAMPLES = 2000
MARGIN = 0.01
"""Ratios within this of 1 are not told apart: where memory happens to lie alone can make as much."""
WIDEST = 0.10
"""An interval around 1 that is wider than this shows no difference and no sameness either."""
WINDOW = 5
STEADY_WITHIN = 0.05


@dataclass(frozen=True)
class Summary:
    """The distribution of run times, in their unit.

    Attributes:
        median: Middle run time.
        p50: The same, beside its fellows.
        p90: Nine in ten runs took no longer.
        p99: Ninety-nine in a hundred took no longer.
        spread: Interquartile range.
        runs: How many there were.
    """

    median: float
    p50: float
    p90: float
    p99: float
    spread: float
    runs: int


@dataclass(frozen=True)
class RatioInterval:
    """Baseline time over contender time, with its interval of confidence."""

    median: float
    low: float
    high: float


def summarise(times: ArrayLike) -> Summary:
    """Describe run times (one or more) by their percentiles."""
    values = np.asarray(times, np.float64)
    p25, p50, p75, p90, p99 = (float(value) for value in np.percentile(values, (25, 50, 75, 90, 99)))
    return Summary(p50, p50, p90, p99, p75 - p25, values.size)


def bootstrap_ratio(
    baseline: ArrayLike, contender: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES
) -> RatioInterval:
    """Ratio of two contenders timed side by side, with a percentile-bootstrap interval.

    The two times of a round were taken next to each other, so rounds are resampled whole: what slows the
    machine for a while cancels.

    Args:
        baseline: One time per round, of the baseline.
        contender: One time per round, of the contender; as many as the baseline's.
        seed: Of the resampling.
        resamples: How often to resample.

    Returns:
        The median over rounds of baseline / contender, and its 95% interval.
    """
    ratios = np.asarray(baseline, np.float64) / np.asarray(contender, np.float64)
    picks = np.random.default_rng(seed).integers(0, ratios.size, (resamples, ratios.size))
    medians = np.median(ratios[picks], axis=1)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(medians, (tail, 1.0 - tail))
    return RatioInterval(float(np.median(ratios)), float(low), float(high))


def word_for(interval: RatioInterval) -> Word:
    """Say what an interval shows: faster and slower only if all of it lies on that side of the margin."""
    if interval.low > 1.0 + MARGIN:
        return "faster"
    if interval.high < 1.0 / (1.0 + MARGIN):
        return "slower"
    if interval.high - interval.low <= WIDEST:
        return "no difference"
    return "unjudged"


def is_steady(times: ArrayLike, window: int = WINDOW, within: float = STEADY_WITHIN) -> bool:
    """Whether the last runs took as long as those before them.

    Args:
        times: Run times in the order in which they were taken.
        window: Runs to a window; two windows are compared by their medians.
        within: Relative difference of the medians that counts as none.
    """
    values: NDArray[np.float64] = np.asarray(times, np.float64)
    if values.size < 2 * window:
        return False
    before, after = np.median(values[-2 * window : -window]), np.median(values[-window:])
    return bool(abs(after - before) <= within * before)
