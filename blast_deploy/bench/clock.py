"""The clocks that timings are taken with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Clock:
    """A monotonic clock.

    Attributes:
        name: What it measures.
        read_ns: Its reading in nanoseconds.
        follows_thread: Whether it sees the calling thread only, so that work done elsewhere would be missed.
    """

    name: Literal["thread CPU time", "wall time"]
    read_ns: Callable[[], int]
    follows_thread: bool


THREAD_CPU = Clock("thread CPU time", time.thread_time_ns, follows_thread=True)
WALL = Clock("wall time", time.perf_counter_ns, follows_thread=False)


def clock_for(threads: int) -> Clock:
    """Thread CPU time for one thread, which a busy machine hardly disturbs; wall time for more."""
    return THREAD_CPU if threads == 1 else WALL
