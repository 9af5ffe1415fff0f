"""How many components of a GBLR matrix cover each of its entries: the picture of a learned structure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.results import LayerIntervals
from blast_deploy.structures.gblr.intervals import check_factor
from blast_deploy.structures.gblr.matrix import Float64, GblrMatrix


def intervals_of(matrix: GblrMatrix) -> LayerIntervals:
    """What the components of a matrix cover, values left out."""
    arrays = matrix.u.starts, matrix.u.widths, matrix.v.starts, matrix.v.widths
    return LayerIntervals(*(tuple(array.tolist()) for array in arrays))


def checked_intervals(arrays: dict[str, NDArray[Any]], out_features: int, in_features: int) -> LayerIntervals:
    """Take intervals that were read from a file.

    Args:
        arrays: ``u_start``, ``u_width``, ``v_start`` and ``v_width``, int64 (K,).
        out_features: Rows.
        in_features: Columns.

    Raises:
        InvalidInputError: If they lie outside the axes, or are not as many on both.
    """
    for side, size in (("u", out_features), ("v", in_features)):
        starts, widths = arrays[f"{side}_start"], arrays[f"{side}_width"]
        check_factor((int(widths.sum()),), starts, widths, size)
    if arrays["u_start"].shape != arrays["v_start"].shape:
        raise InvalidInputError(
            "there must be as many row as column intervals "
            f"(got {arrays['u_start'].size} and {arrays['v_start'].size})"
        )
    return LayerIntervals(**{name: tuple(array.tolist()) for name, array in arrays.items()})


def coverage(intervals: LayerIntervals, out_features: int, in_features: int, cells: int) -> Float64:
    """Count the components that cover each entry, averaged over the cells of a coarse grid.

    Args:
        intervals: Of the components.
        out_features: Rows m.
        in_features: Columns n.
        cells: Most cells along either axis.

    Returns:
        Float64 (min(m, cells), min(n, cells)).

    Raises:
        InvalidInputError: If the intervals lie outside the axes.
    """
    named = {name: np.array(getattr(intervals, name), np.int64) for name in LayerIntervals.__annotations__}
    checked_intervals(named, out_features, in_features)
    rows = _shares(named["u_start"], named["u_width"], out_features, cells)
    columns = _shares(named["v_start"], named["v_width"], in_features, cells)
    # A component covers a product of intervals, so its share of a cell is a product too.
    found: Float64 = rows.T @ columns
    return found


def _shares(starts: NDArray[np.int64], widths: NDArray[np.int64], size: int, cells: int) -> Float64:
    """What share of each cell each component covers, (K, cells)."""
    inside = (np.arange(size) - starts[:, None]) % size < widths[:, None]
    edges = np.linspace(0, size, min(size, cells) + 1).astype(np.int64)
    sums = np.add.reduceat(inside.astype(np.float64), edges[:-1], axis=1)
    shares: Float64 = sums / np.diff(edges)
    return shares
