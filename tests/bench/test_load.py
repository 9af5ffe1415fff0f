"""The load of the machine, from hand-made readings."""

from __future__ import annotations

import os
import time

import pytest

from blast_deploy.bench.clock import THREAD_CPU, WALL
from blast_deploy.bench.load import QUIET, LoadMeter, busy_seconds, load_limit, too_loaded, usable_cpus

STAT = """cpu  100 10 50 1000 5 1 2 3 0 0
cpu0 40 10 20 500 5 1 2 3 7 7
cpu1 60 0 30 500 0 0 0 0 0 0
cpu10 9999 0 0 0 0 0 0 0 0 0
intr 12345
"""


def test_busy_time_counts_everything_but_idling() -> None:
    assert busy_seconds(STAT, (0,), 100) == pytest.approx((40 + 10 + 20 + 1 + 2 + 3) / 100)
    assert busy_seconds(STAT, (0, 1), 100) == pytest.approx((76 + 90) / 100)


def test_other_work_is_busy_time_that_was_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two intervals of 2 s; the machine is busy for 7 and 3 CPU seconds, of which 1 and 1 are our own.
    busy = iter([100.0, 107.0, 200.0, 203.0])
    monkeypatch.setattr(time, "process_time", iter([10.0, 11.0, 20.0, 21.0]).__next__)
    monkeypatch.setattr(time, "perf_counter", iter([0.0, 2.0, 50.0, 52.0]).__next__)
    meter = LoadMeter(lambda: next(busy))
    for _ in range(2):
        meter.start()
        meter.stop()
    assert meter.load == pytest.approx((6.0 + 2.0) / 4.0)


def test_a_machine_that_says_nothing_has_no_load() -> None:
    meter = LoadMeter(lambda: None)
    meter.start()
    meter.stop()
    assert meter.load is None
    assert LoadMeter().load is None


def test_load_is_never_negative() -> None:
    meter = LoadMeter(lambda: 0.0)
    meter.start()
    sum(range(1000))
    meter.stop()
    assert meter.load == 0.0


def test_wall_time_needs_its_cpus_and_thread_time_hardly_minds() -> None:
    assert load_limit(WALL, threads=2, cpus=2) == QUIET
    assert load_limit(WALL, threads=2, cpus=8) == QUIET + 3
    assert load_limit(WALL, threads=4, cpus=2) == QUIET
    assert load_limit(THREAD_CPU, threads=1, cpus=2) == 2.0


def test_too_loaded_says_why() -> None:
    assert too_loaded(0.1, WALL, threads=2, cpus=2) is None
    reason = too_loaded(0.5, WALL, threads=2, cpus=2)
    assert reason == "other work took 0.50 CPUs on average, and wall time is judged up to 0.15"
    assert too_loaded(0.5, THREAD_CPU, threads=1, cpus=2) is None
    assert too_loaded(None, THREAD_CPU, threads=1, cpus=2) is None
    assert "could not be measured" in str(too_loaded(None, WALL, threads=2, cpus=2))


def test_usable_cpus_are_those_of_this_process() -> None:
    assert len(usable_cpus()) >= 1
    if hasattr(os, "sched_getaffinity"):
        assert set(usable_cpus()) == os.sched_getaffinity(0)
