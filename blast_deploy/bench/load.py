"""What the rest of the machine was doing while contenders were timed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

from blast_deploy.bench.clock import Clock

_COUNTERS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_IDLE = ("idle", "iowait")
QUIET = 0.15
"""CPUs' worth of other work that wall-clock timings stand without a CPU to spare."""


def usable_cpus() -> tuple[int, ...]:
    """Numbers of the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def busy_seconds(stat: str, cpus: Collection[int], ticks_per_second: int) -> float:
    """CPU seconds that were spent on anything since boot, time taken by a hypervisor included.

    Args:
        stat: Contents of ``/proc/stat``.
        cpus: Numbers of the CPUs that count.
        ticks_per_second: The kernel's unit.
    """
    wanted = {f"cpu{number}" for number in cpus}
    ticks = 0
    for line in stat.splitlines():
        name, *counts = line.split()
        if name in wanted:
            ticks += sum(
                int(count) for kind, count in zip(_COUNTERS, counts, strict=False) if kind not in _IDLE
            )
    return ticks / ticks_per_second


class LoadMeter:
    """Measures the work of other processes: ``start``, time something, ``stop``, any number of times."""

    def __init__(self, busy: Callable[[], float | None] | None = None) -> None:
        """Make a meter.

        Args:
            busy: Gives the machine's busy CPU seconds, None where they cannot be known; by default those
                of the CPUs that this process may use, from ``/proc/stat``.
        """
        self._busy = busy or _machine_busy_seconds
        self._begun: tuple[float | None, float, float] | None = None
        self._known = True
        self._others = 0.0
        self._elapsed = 0.0

    def start(self) -> None:
        """Begin an interval."""
        self._begun = self._read()

    def stop(self) -> None:
        """End the interval."""
        assert self._begun is not None, "stop without start"
        busy, own, wall = self._begun
        busy_now, own_now, wall_now = self._read()
        self._begun = None
        self._elapsed += wall_now - wall
        if busy is None or busy_now is None:
            self._known = False
            return
        self._others += (busy_now - busy) - (own_now - own)

    @property
    def load(self) -> float | None:
        """Mean CPUs' worth of work that was not this process's, 0 or more; None where it is not known."""
        if not self._known or self._elapsed <= 0.0:
            return None
        return max(0.0, self._others / self._elapsed)

    def _read(self) -> tuple[float | None, float, float]:
        return self._busy(), time.process_time(), time.perf_counter()


def load_now(seconds: float = 2.0) -> float | None:
    """Watch what the rest of the machine does for a while; see ``LoadMeter.load``."""
    meter = LoadMeter()
    meter.start()
    time.sleep(seconds)
    meter.stop()
    return meter.load


def load_limit(clock: Clock, threads: int, cpus: int) -> float:
    """Most load under which timings are judged.

    Thread CPU time does not count waiting, so it only asks that the timed thread keeps half a CPU or more:
    beyond that, caches are refilled too often. Wall time needs its threads' CPUs to itself.

    Args:
        clock: What the timings are taken with.
        threads: Threads of each contender.
        cpus: CPUs that this process may use.
    """
    if clock.follows_thread:
        return float(cpus)
    return QUIET + max(0, cpus - threads) / 2


def too_loaded(load: float | None, clock: Clock, threads: int, cpus: int) -> str | None:
    """Why timings cannot be judged for load, or None when they can."""
    if load is None:
        if clock.follows_thread:
            return None
        return "the machine's load could not be measured, and wall time needs to know it"
    limit = load_limit(clock, threads, cpus)
    if load <= limit:
        return None
    return f"other work took {load:.2f} CPUs on average, and {clock.name} is judged up to {limit:.2f}"


def _machine_busy_seconds() -> float | None:
    try:
        stat = Path("/proc/stat").read_text()
    except OSError:
        return None
    return busy_seconds(stat, usable_cpus(), os.sysconf("SC_CLK_TCK"))
