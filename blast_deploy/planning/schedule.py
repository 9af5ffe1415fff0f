"""The limits by which a target's kernels cut layers, from the constants measured on it."""

from __future__ import annotations

from blast_deploy.structures.blast.schedule import ScheduleLimits
from blast_deploy.targets import Costs

WORTH_HANDING_OVER = 2
"""A share is worth another thread if it takes so many times as long as handing it over: with less, two
threads would wait for each other for as long as they work."""


def limits_of(costs: Costs) -> ScheduleLimits:
    """Turn the time of handing work to another thread into bytes and operations.

    Args:
        costs: The target's; without ``schedule`` or ``kernel`` the library's own limits serve.
    """
    if costs.schedule is None or costs.kernel is None:
        return ScheduleLimits()
    microseconds = WORTH_HANDING_OVER * costs.schedule.handoff_microseconds
    # 10^9 a second is 10^3 a microsecond.
    return ScheduleLimits(
        largest_tile_rows=costs.schedule.largest_tile_rows,
        smallest_share_bytes=max(1, round(microseconds * costs.kernel.gigabytes_per_second * 1e3)),
        smallest_share_operations=max(1, round(microseconds * costs.kernel.gigaflops * 1e3)),
    )
