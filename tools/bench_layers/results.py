"""What was measured, as it is written to JSON."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from blast_deploy.bench.statistics import Word
from tools.bench_layers.contenders import Caches, Name


@dataclass(frozen=True)
class Measurement:
    """One contender on one layer; times are per layer.

    Attributes:
        contender: Which.
        median_us: Median time.
        gflops: 10^9 operations a second, of the operations that the contender needs.
        peak_share: Of the measured peak of multiply-adds.
        gigabytes_per_second: Weights read.
        bandwidth_share: Of the measured read bandwidth of where the weights lie.
        bandwidth_level: Where that is: the memory when cold, else the smallest cache that holds them.
        copies: Layers that followed each other, again and again.
        rotated_bytes: Bytes of their weights.
        ratio: This contender's time over the kernel's: how many times as fast the kernel is.
        ratio_ci95: Its 95% interval.
        word: Plain word for it, said of the kernel.
    """

    contender: Name
    median_us: float
    gflops: float
    peak_share: float
    gigabytes_per_second: float
    bandwidth_share: float
    bandwidth_level: str
    copies: int
    rotated_bytes: int
    ratio: float
    ratio_ci95: tuple[float, float]
    word: Word


@dataclass(frozen=True)
class Cell:
    """All contenders on one layer, for a number of rows.

    Attributes:
        layer: Its name.
        rows: Rows of X.
        caches: Whether the weights come from the caches that hold them, or from memory.
        kept: BLAST parameters over dense ones.
        goal: Times as fast as ORT dense that the kernel is to be.
        met: Whether the median reaches it; None where the timings are in doubt.
        doubts: Why they are.
        measurements: One for each contender.
    """

    layer: str
    rows: int
    caches: Caches
    kept: float
    goal: float
    met: bool | None
    doubts: tuple[str, ...]
    measurements: tuple[Measurement, ...]

    def of(self, name: Name) -> Measurement:
        """One contender's measurement."""
        return next(item for item in self.measurements if item.contender == name)


@dataclass(frozen=True)
class Scaling:
    """What a second thread brings to one contender: minima of wall time."""

    layer: str
    rows: int
    contender: Name
    one_thread_us: float
    two_threads_us: float
    ratio: float
    rounds: int
    load: float | None
    judged: bool


def goals_met(cells: list[Cell]) -> tuple[int, int]:
    """How many goals were met, of how many that could be judged."""
    judged = [cell.met for cell in cells if cell.met is not None]
    return sum(judged), len(judged)


def typical_ratio(cells: list[Cell], name: Name) -> float:
    """Geometric mean of the kernel's speed over a contender's."""
    return statistics.geometric_mean(cell.of(name).ratio for cell in cells)
