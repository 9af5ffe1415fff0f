"""Intervals cut or grown at their ends until they hold exactly as many entries as a budget allows."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from blast_deploy.compression.interval_choice import Array, Side


def cut_to(sides: Sequence[Side], gains: Sequence[Array], budget: int) -> None:
    """Take away the ends that are worth least, one entry after another, until the rest fits.

    A component that loses its last entry on one side loses all on the other.

    Args:
        sides: Left and right; their intervals and vectors are changed.
        gains: For each side (K, size), what each entry is worth.
        budget: Most entries of both sides together.
    """
    left = sum(int(side.widths.sum()) for side in sides)
    heap = [item for index, k in _components(sides) for item in _ends(sides, gains, index, k)]
    heapq.heapify(heap)
    while left > budget:
        _, index, k, entry = heapq.heappop(heap)
        side = sides[index]
        if entry not in _end_entries(side, k):
            continue
        _remove_end(side, k, entry)
        left -= 1
        if side.widths[k] == 0:
            left -= int(sides[1 - index].widths[k])
            _clear(sides[1 - index], k)
            continue
        for item in _ends(sides, gains, index, k):
            heapq.heappush(heap, item)


def grow_to(sides: Sequence[Side], gains: Sequence[Array], budget: int) -> None:
    """Add the neighbours of intervals that are worth most, one entry after another, up to a budget.

    Args:
        sides: Left and right; their intervals are changed, their vectors are not.
        gains: For each side (K, size), what each entry would be worth.
        budget: Entries of both sides together.
    """
    left = budget - sum(int(side.widths.sum()) for side in sides)
    heap = [item for index, k in _components(sides) for item in _neighbours(sides, gains, index, k)]
    heapq.heapify(heap)
    while left > 0 and heap:
        _, index, k, entry = heapq.heappop(heap)
        side = sides[index]
        if entry not in _neighbour_entries(side, k):
            continue
        if entry != (side.starts[k] + side.widths[k]) % side.vectors.shape[1]:
            side.starts[k] = entry
        side.widths[k] += 1
        left -= 1
        for item in _neighbours(sides, gains, index, k):
            heapq.heappush(heap, item)


Item = tuple[float, int, int, int]
"""Order in the heap, side, component, entry."""


def _components(sides: Sequence[Side]) -> Iterator[tuple[int, int]]:
    return ((index, k) for index, side in enumerate(sides) for k in range(len(side.widths)))


def _ends(sides: Sequence[Side], gains: Sequence[Array], index: int, k: int) -> Iterator[Item]:
    for entry in _end_entries(sides[index], k):
        yield float(gains[index][k, entry]), index, k, entry


def _neighbours(sides: Sequence[Side], gains: Sequence[Array], index: int, k: int) -> Iterator[Item]:
    for entry in _neighbour_entries(sides[index], k):
        yield -float(gains[index][k, entry]), index, k, entry


def _end_entries(side: Side, k: int) -> tuple[int, ...]:
    start, width, size = int(side.starts[k]), int(side.widths[k]), side.vectors.shape[1]
    return () if width == 0 else (start, (start + width - 1) % size)


def _neighbour_entries(side: Side, k: int) -> tuple[int, ...]:
    start, width, size = int(side.starts[k]), int(side.widths[k]), side.vectors.shape[1]
    return () if width in (0, size) else ((start - 1) % size, (start + width) % size)


def _remove_end(side: Side, k: int, entry: int) -> None:
    side.vectors[k, entry] = 0
    if entry == side.starts[k]:
        side.starts[k] = (entry + 1) % side.vectors.shape[1]
    side.widths[k] -= 1


def _clear(side: Side, k: int) -> None:
    side.vectors[k] = 0
    side.widths[k] = 0
