"""GBLR matrices for tests: odd ones of every kind, random ones, and the intervals of learned ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.structures.gblr.intervals import IntervalFactor
from blast_deploy.structures.gblr.matrix import GblrMatrix

# name: (out, in), u_start, u_width, v_start, v_width
ODD: dict[str, tuple[tuple[int, int], list[int], list[int], list[int], list[int]]] = {
    "no-components": ((5, 4), [], [], [], []),
    "one-of-everything": ((1, 1), [0], [1], [0], [1]),
    "width-one": ((5, 7), [4, 0], [1, 1], [6, 3], [1, 1]),
    "full-width": ((5, 7), [0, 2, 4], [5, 5, 5], [0, 6, 3], [7, 7, 7]),
    "wraps-around": ((11, 7), [9, 4, 10], [5, 3, 2], [5, 0, 6], [4, 7, 2]),
    "more-components-than-sizes": (
        (3, 2),
        [0, 1, 2, 0, 1, 2, 1],
        [2] * 7,
        [0, 1] * 3 + [1],
        [1, 2] * 3 + [2],
    ),
}


def factor(starts: Any, widths: Any, size: int, seed: int = 0, dtype: Any = np.float64) -> IntervalFactor:
    """Normal values on the given intervals."""
    starts, widths = (np.asarray(each, np.int64) for each in (starts, widths))
    values = np.random.default_rng(seed).standard_normal(int(widths.sum())).astype(dtype)
    return IntervalFactor(values, starts, widths, size)


def odd(name: str, dtype: Any = np.float64) -> GblrMatrix:
    """One of ``ODD``."""
    (m, n), u_start, u_width, v_start, v_width = ODD[name]
    return GblrMatrix(factor(u_start, u_width, m, 1, dtype), factor(v_start, v_width, n, 2, dtype))


def random(
    out_features: int,
    in_features: int,
    components: int,
    *,
    widest: float = 1.0,
    seed: int = 0,
    dtype: Any = np.float64,
) -> GblrMatrix:
    """Intervals anywhere, up to ``widest`` of the axis."""
    generator = np.random.default_rng(seed)

    def side(size: int, seed: int) -> IntervalFactor:
        widths = generator.integers(1, max(1, int(widest * size)) + 1, components)
        return factor(generator.integers(0, size, components), widths, size, seed, dtype)

    return GblrMatrix(side(out_features, seed + 1), side(in_features, seed + 2))


def learned_intervals(name: str) -> dict[str, NDArray[np.int64]]:
    """Starts and widths, dead components included, that the original code found for a layer of MiniLM.

    Args:
        name: ``query_50`` (384 x 384) or ``output_50`` (384 x 1536), both at 50% of the parameters.
    """
    with np.load(Path(__file__).with_name("learned_intervals.npz")) as file:
        keys = ("u_start", "u_width", "v_start", "v_width")
        return {key: file[f"{name}_{key}"].astype(np.int64) for key in keys}


def learned(name: str, dtype: Any = np.float32) -> GblrMatrix:
    """A matrix on the live ones of those intervals."""
    found = learned_intervals(name)
    live = (found["u_width"] >= 2) & (found["v_width"] >= 2)
    kept = {key: array[live] for key, array in found.items()}
    in_features = 384 if name.startswith("query") else 1536
    return GblrMatrix(
        factor(kept["u_start"], kept["u_width"], 384, 1, dtype),
        factor(kept["v_start"], kept["v_width"], in_features, 2, dtype),
    )
