"""What one core of this machine can do at most: arithmetic in registers, and reading from each cache."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from blast_deploy.bench.caches import TYPICAL, cache_sizes
from blast_deploy.native import Library
from blast_deploy.results import MachinePeaks

MEMORY = "memory"
_PAST_THE_CACHES = 4
"""Of a buffer so many times the last cache, hardly anything is left there from the pass before."""
_LARGEST_BUFFER = 256 << 20


def measure_peaks(progress: Callable[[int, int, str], None] | None = None) -> MachinePeaks:
    """Measure this machine's peaks on the calling thread, in about two seconds.

    The clock is the thread's CPU time and the best of several trials counts, so that other work on the
    machine disturbs little but what the cores share: the last cache, and the memory.

    Args:
        progress: Told of steps done, steps in all and what comes next.

    Raises:
        InvalidInputError: If a buffer does not fit into the memory.
        UnsupportedMachineError: If the operator library is missing or too old.
    """
    found = cache_sizes()
    caches = found or TYPICAL
    library = Library()
    sets = library.instruction_sets()
    buffers = {level: size // 2 for level, size in caches.items()}
    buffers[MEMORY] = min(_PAST_THE_CACHES * max(caches.values()), _LARGEST_BUFFER)
    gigaflops: dict[str, float] = {}
    bandwidth = dict.fromkeys(buffers, 0.0)
    for done, name in enumerate(sets):
        if progress is not None:
            progress(done, len(sets), f"peaks of {name}")
        gigaflops[name] = _gigaflops(library, name)
        for level, size in buffers.items():
            bandwidth[level] = max(bandwidth[level], _gigabytes_per_second(library, name, size))
    return MachinePeaks(
        gigaflops=gigaflops,
        gigabytes_per_second=bandwidth,
        cache_bytes=dict(caches),
        cache_origin="system" if found else "assumed",
    )


def _gigaflops(library: Library, instruction_set: str) -> float:
    rate = ctypes.c_double()
    library.call("blast_deploy_machine_fma_peak", instruction_set.encode(), ctypes.byref(rate))
    return rate.value


def _gigabytes_per_second(library: Library, instruction_set: str, size: int) -> float:
    rate = ctypes.c_double()
    library.call(
        "blast_deploy_machine_read_bandwidth",
        instruction_set.encode(),
        ctypes.c_int64(size),
        ctypes.byref(rate),
    )
    return rate.value
