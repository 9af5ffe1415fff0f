"""Takes the times: contenders interleaved in one process, each warmed up until it is steady."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from blast_deploy.bench import statistics
from blast_deploy.bench.clock import Clock

Call = Callable[[], object]

WARM_UP_RUNS = 60
WARM_UP_SECONDS = 6.0
TURN_NS = 20_000_000
"""Timed work of one contender in one round, roughly."""
RUNS_PER_TURN = 20
LONG_RUN_NS = 50_000_000
"""A run this long is hardly touched by what the one before it left in the caches."""
STRAY_LIMIT = 0.05
"""Share of a contender's CPU time that may be spent outside the calling thread when only that is timed."""


@dataclass
class Timings:
    """Run times of one contender, in milliseconds.

    Attributes:
        rounds: One array of run times for each round.
        steady: Whether it was steady when timing began.
        stray: Share of its CPU time that other threads spent.
    """

    rounds: list[NDArray[np.float64]] = field(default_factory=list)
    steady: bool = False
    stray: float = 0.0

    @property
    def runs(self) -> NDArray[np.float64]:
        """All run times."""
        return np.concatenate(self.rounds)

    @property
    def round_medians(self) -> NDArray[np.float64]:
        """One time for each round."""
        return np.array([np.median(times) for times in self.rounds])


def interleave(
    calls: Mapping[str, Call],
    clock: Clock,
    *,
    rounds: int,
    seed: int = 0,
    after_round: Callable[[], None] | None = None,
) -> dict[str, Timings]:
    """Time contenders in turns.

    In every round each contender has one turn, in an order drawn anew: one run that is not timed, to bring
    its weights back into the caches (unless runs are long), and then timed runs.

    Args:
        calls: Contender to what runs it once.
        clock: What to time with.
        rounds: How many rounds.
        seed: Of the order.
        after_round: Called between rounds, outside any timing.
    """
    timings = {name: Timings() for name in calls}
    usual_ns: dict[str, float] = {}
    for name, call in calls.items():
        warm_times = _warm_up(call, clock)
        timings[name].steady = statistics.is_steady(warm_times)
        usual_ns[name] = float(np.median(warm_times[-statistics.WINDOW :]))
    order = np.random.default_rng(seed)
    stray: dict[str, list[tuple[int, int]]] = {name: [] for name in calls}
    names = list(calls)
    for _ in range(rounds):
        with _no_garbage_collection():
            for index in order.permutation(len(names)):
                name = names[index]
                stray[name].append(_turn(calls[name], clock, usual_ns[name], timings[name]))
        if after_round is not None:
            after_round()
    for name, spent in stray.items():
        inside, whole = (sum(column) for column in zip(*spent, strict=True))
        timings[name].stray = max(0.0, 1.0 - inside / whole) if whole > 0 else 0.0
    return timings


def doubts(timings: Mapping[str, Timings], clock: Clock) -> tuple[str, ...]:
    """Why these timings cannot be judged, one sentence each; none when they can."""
    found = [f"{name} never became steady" for name, taken in timings.items() if not taken.steady]
    if clock.follows_thread:
        found += [
            f"{name} spent {taken.stray:.0%} of its CPU time in threads that {clock.name} does not see"
            for name, taken in timings.items()
            if taken.stray > STRAY_LIMIT
        ]
    return tuple(found)


def _warm_up(call: Call, clock: Clock) -> list[int]:
    """Run until steady, or until enough has been tried; returns the run times in nanoseconds."""
    times: list[int] = []
    deadline = time.perf_counter() + WARM_UP_SECONDS
    while not statistics.is_steady(times) and len(times) < WARM_UP_RUNS:
        if time.perf_counter() > deadline and len(times) >= 2 * statistics.WINDOW:
            break
        times.append(_timed(call, clock))
    return times


def _turn(call: Call, clock: Clock, usual_ns: float, timings: Timings) -> tuple[int, int]:
    """One contender's turn; returns CPU nanoseconds of this thread and of the whole process."""
    if usual_ns < LONG_RUN_NS:
        call()
    runs = int(np.clip(TURN_NS / usual_ns, 1, RUNS_PER_TURN))
    thread, process = time.thread_time_ns(), time.process_time_ns()
    taken = [_timed(call, clock) for _ in range(runs)]
    timings.rounds.append(np.array(taken, np.float64) / 1e6)
    return time.thread_time_ns() - thread, time.process_time_ns() - process


def _timed(call: Call, clock: Clock) -> int:
    begun = clock.read_ns()
    call()
    return max(clock.read_ns() - begun, 1)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep Python's collector from running inside a timed call."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
