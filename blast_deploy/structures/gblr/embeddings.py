"""Other structures written exactly as GBLR matrices, at the cost that ``GblrMatrix.cost`` reports.

Source: Gaudi-GBLR, arXiv 2310.18882: low-rank, block-sparse and block low-rank matrices are GBLR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.gblr.intervals import IntervalFactor
from blast_deploy.structures.gblr.matrix import GblrMatrix

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Block:
    """A dense block and where its upper left corner lies.

    Attributes:
        row: First row.
        column: First column.
        values: Float (height, width).
    """

    row: int
    column: int
    values: Array


def from_low_rank(left: Array, right: Array) -> GblrMatrix:
    """Embed ``left @ right``: r components over all rows and columns, r(m + n) parameters.

    Args:
        left: Float (m, r).
        right: Float (r, n).

    Raises:
        InvalidInputError: If the inner sizes differ.
    """
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        raise InvalidInputError(
            f"low-rank factors must be (m, r) and (r, n) (got {left.shape} and {right.shape})"
        )
    return GblrMatrix(_full(left.T), _full(right))


def from_block_sparse(blocks: Sequence[Block], out_features: int, in_features: int) -> GblrMatrix:
    """Embed a sum of dense blocks, zero elsewhere.

    A block becomes one component for each line of its shorter side: the line itself times a single one, so a
    p x q block takes p q + min(p, q) parameters.

    Args:
        blocks: They may overlap, where they add up; none for the zero matrix.
        out_features: Rows m.
        in_features: Columns n.

    Raises:
        InvalidInputError: If a block has not two axes, or reaches past an edge.
    """
    for block in blocks:
        _check_block(block, out_features, in_features)
    u, v = _Lines(out_features), _Lines(in_features)
    for block in blocks:
        height, width = block.values.shape
        if width <= height:
            u.add_lines(block.values.T, block.row)
            v.add_ones(width, block.column)
        else:
            u.add_ones(height, block.row)
            v.add_lines(block.values, block.column)
    dtype = np.result_type(*(block.values.dtype for block in blocks)) if blocks else np.dtype(np.float64)
    return GblrMatrix(u.factor(dtype), v.factor(dtype))


class _Lines:
    """Collects components of one side."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: list[NDArray[np.floating]] = []
        self._starts: list[int] = []
        self._widths: list[int] = []

    def add_lines(self, lines: Array, start: int) -> None:
        """Add each row of ``lines`` at the same place."""
        self._values.append(lines.ravel())
        self._starts += [start] * len(lines)
        self._widths += [lines.shape[1]] * len(lines)

    def add_ones(self, count: int, start: int) -> None:
        """Add single ones at places in a row."""
        self._values.append(np.ones(count))
        self._starts += range(start, start + count)
        self._widths += [1] * count

    def factor(self, dtype: np.dtype[np.floating]) -> IntervalFactor:
        values = np.concatenate(self._values) if self._values else np.empty(0)
        starts, widths = (np.array(each, np.int64) for each in (self._starts, self._widths))
        return IntervalFactor(values.astype(dtype), starts, widths, self._size)


def _full(rows: Array) -> IntervalFactor:
    count, size = rows.shape
    return IntervalFactor(rows.ravel(), np.zeros(count, np.int64), np.full(count, size, np.int64), size)


def _check_block(block: Block, out_features: int, in_features: int) -> None:
    if block.values.ndim != 2 or min(block.values.shape) < 1:
        raise InvalidInputError(f"a block must be (height, width), not empty (got {block.values.shape})")
    height, width = block.values.shape
    fits = block.row >= 0 and block.column >= 0
    if not fits or block.row + height > out_features or block.column + width > in_features:
        raise InvalidInputError(
            f"a {height} x {width} block at ({block.row}, {block.column}) reaches past a "
            f"{out_features} x {in_features} matrix; cut it"
        )
