"""How much of a CPU the measuring thread had."""

from __future__ import annotations

import time

LEAST = 0.4
"""Below this share other work runs more often than what is timed, and its caches are never its own."""


class CpuShare:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._wall, self._thread = time.perf_counter(), time.thread_time()

    def doubts(self) -> tuple[str, ...]:
        """Why times cannot be judged, one sentence; none when they can."""
        wall = time.perf_counter() - self._wall
        share = (time.thread_time() - self._thread) / wall if wall > 0 else 1.0
        if share >= LEAST:
            return ()
        return (
            f"other work left the measuring thread {share:.0%} of a CPU, and thread CPU time is judged from "
            f"{LEAST:.0%}; calibrate again when the machine is quieter",
        )
