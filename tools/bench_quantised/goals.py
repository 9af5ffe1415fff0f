"""The layers that are timed, and what they have to reach."""

from __future__ import annotations

from dataclasses import dataclass

from tools.bench_layers.layers import Layer
from tools.bench_quantised.contenders import Name

ROWS = (1, 8, 128, 512)
MOST_COLD_ROWS = 8
"""Up to so many rows, layers follow each other until their weights come from memory."""

LAYERS = (
    Layer(4096, 4096, (16, 16), 992),
    Layer(11008, 4096, (16, 16), 1488),
    Layer(768, 3072, (4, 4), 306),
    # Odd ones: sizes that no block divides, ranks past a group, b1 != b2.
    Layer(1000, 768, (5, 5), 211),
    Layer(1021, 769, (7, 3), 215),
    Layer(2304, 1152, (3, 2), 383),
)
QUICK = LAYERS[2:4]


@dataclass(frozen=True)
class Goal:
    """One of ours is to be ``least`` times as fast as another contender."""

    ours: Name
    other: Name
    least: float


def goals(rows: int) -> tuple[Goal, ...]:
    """What has to be reached at a number of rows."""
    if rows == 1:
        return (
            Goal("int8 BLAST", "ORT 4-bit, level 4", 1.6),
            Goal("int8 BLAST", "ORT dynamic int8", 1.8),
            Goal("int8 BLAST", "ORT dense fp32", 6.0),
            Goal("int4 BLAST", "ORT 4-bit, level 4", 2.2),
        )
    if rows <= MOST_COLD_ROWS:
        others: tuple[Name, ...] = (
            "ORT dense fp32",
            "ORT dynamic int8",
            "ORT 4-bit, level 4",
            "ORT 4-bit, level 0",
            "ORT 8-bit, level 4",
        )
        return tuple(Goal(ours, other, 1.0) for ours in ("int8 BLAST", "int4 BLAST") for other in others)
    return (Goal("int8 BLAST", "ORT dynamic int8", 1.2),)
