"""Interleaving and warm-up under a clock that the test moves itself."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import numpy as np
import pytest

from blast_deploy.bench import timing
from blast_deploy.bench.clock import THREAD_CPU, WALL, Clock, clock_for

MILLISECOND = 1_000_000


class FakeTime:
    """A clock that only moves when a call says so, and a record of who was called."""

    def __init__(self) -> None:
        self.now = 0
        self.called: list[str] = []
        self.clock = Clock("wall time", lambda: self.now, follows_thread=False)

    def call(self, name: str, milliseconds: Callable[[int], float]) -> timing.Call:
        def run() -> None:
            earlier = self.called.count(name)
            self.called.append(name)
            self.now += int(milliseconds(earlier) * MILLISECOND)

        return run


def test_times_are_what_the_calls_took() -> None:
    fake = FakeTime()
    calls = {"slow": fake.call("slow", lambda _: 8.0), "quick": fake.call("quick", lambda _: 2.0)}
    taken = timing.interleave(calls, fake.clock, rounds=12)
    assert np.unique(taken["slow"].runs).tolist() == [8.0]
    assert np.unique(taken["quick"].round_medians).tolist() == [2.0]
    assert [len(times) for times in taken["slow"].rounds] == [2] * 12
    assert [len(times) for times in taken["quick"].rounds] == [10] * 12
    assert taken["slow"].steady


def test_every_round_gives_every_contender_a_turn_in_changing_order() -> None:
    fake = FakeTime()
    calls = {name: fake.call(name, lambda _: 30.0) for name in "abc"}
    rounds: list[list[str]] = []

    def after_round() -> None:
        turns = fake.called[-6:]  # each: one run that is not timed, one that is
        rounds.append(turns[::2])
        assert turns[::2] == turns[1::2]

    timing.interleave(calls, fake.clock, rounds=20, after_round=after_round)
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len({tuple(order) for order in rounds}) > 2


def test_long_runs_are_not_run_twice() -> None:
    fake = FakeTime()
    timing.interleave({"long": fake.call("long", lambda _: 80.0)}, fake.clock, rounds=10)
    assert len(fake.called) == 10 + 10  # warm-up, then one a round


def test_warm_up_lasts_until_steady() -> None:
    fake = FakeTime()
    calls = {"cooling": fake.call("cooling", lambda run: 100.0 * 0.5 ** min(run, 20))}
    taken = timing.interleave(calls, fake.clock, rounds=10)
    assert taken["cooling"].steady
    warm_up = len(fake.called) - 10 * (timing.RUNS_PER_TURN + 1)
    assert warm_up > 20
    assert timing.doubts(taken, fake.clock) == ()


def test_what_never_settles_is_doubted() -> None:
    fake = FakeTime()
    calls = {"growing": fake.call("growing", lambda run: 1.0 * 1.1**run)}
    taken = timing.interleave(calls, fake.clock, rounds=10)
    assert len(fake.called) <= timing.WARM_UP_RUNS + 10 * (timing.RUNS_PER_TURN + 1)
    assert timing.doubts(taken, fake.clock) == ("growing never became steady",)


def test_work_in_other_threads_is_doubted_under_the_thread_clock_only() -> None:
    def elsewhere() -> None:
        thread = threading.Thread(target=lambda: sum(range(20_000)))
        thread.start()
        thread.join()

    taken = timing.interleave({"elsewhere": elsewhere}, THREAD_CPU, rounds=10)
    assert taken["elsewhere"].stray > timing.STRAY_LIMIT
    taken["elsewhere"].steady = True
    assert "threads that thread CPU time does not see" in timing.doubts(taken, THREAD_CPU)[0]
    assert timing.doubts(taken, WALL) == ()


def test_work_in_the_calling_thread_is_not_stray() -> None:
    taken = timing.interleave({"here": lambda: sum(range(20_000))}, THREAD_CPU, rounds=10)
    assert taken["here"].stray < timing.STRAY_LIMIT


def test_the_collector_rests_while_timing_and_comes_back() -> None:
    seen: list[bool] = []

    def call() -> None:
        seen.append(gc.isenabled())

    timing.interleave({"a": call}, WALL, rounds=10)
    assert not seen[-1]
    assert gc.isenabled()


def test_an_error_in_a_contender_comes_through_and_the_collector_comes_back() -> None:
    runs = iter(range(60))

    def breaks() -> None:
        if next(runs) > 20:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        timing.interleave({"a": breaks}, Clock("wall time", lambda: 0, False), rounds=10)
    assert gc.isenabled()


def test_one_thread_is_timed_by_its_cpu_time_and_more_by_the_wall() -> None:
    assert clock_for(1) is THREAD_CPU
    assert clock_for(2) is WALL
