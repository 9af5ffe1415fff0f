"""One side of a GBLR matrix: rows that are non-zero only on a circular interval each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class IntervalFactor:
    """K rows of ``size`` entries; row k is zero outside the circular interval of its start and width.

    Attributes:
        values: Float (sum of the widths,): row after row, each from its start and wrapping around.
        starts: Int64 (K,), 0 <= start < size.
        widths: Int64 (K,), 1 <= width <= size.
        size: Length of a row.

    Raises:
        InvalidInputError: If they do not fit together.
    """

    values: NDArray[np.floating]
    starts: Integers
    widths: Integers
    size: int

    def __post_init__(self) -> None:
        check_factor(self.values.shape, self.starts, self.widths, self.size)

    @property
    def components(self) -> int:
        """Number K of rows."""
        return len(self.starts)

    def positions(self) -> tuple[Integers, Integers]:
        """Row and column of every value, in order."""
        rows = np.repeat(np.arange(self.components), self.widths)
        first = np.cumsum(self.widths) - self.widths
        steps = np.arange(len(self.values)) - first[rows]
        return rows, (self.starts[rows] + steps) % self.size

    def dense(self, dtype: Any = np.float64) -> NDArray[Any]:
        """Write the rows out, zeros included, as a (K, size) array."""
        rows = np.zeros((self.components, self.size), dtype)
        rows[self.positions()] = self.values
        return rows

    @classmethod
    def from_dense(cls, rows: NDArray[Any], starts: Integers, widths: Integers) -> Self:
        """Keep of each row of a float (K, size) array what lies on its interval.

        Raises:
            InvalidInputError: If the intervals do not fit.
        """
        empty = np.empty(int(widths.sum()), rows.dtype)
        frame = cls(empty, starts.astype(np.int64), widths.astype(np.int64), rows.shape[1])
        return cls(rows[frame.positions()], frame.starts, frame.widths, frame.size)


def check_factor(values: tuple[int, ...], starts: NDArray[Any], widths: NDArray[Any], size: int) -> None:
    """Refuse values and intervals that make no factor.

    Args:
        values: Shape of the values.
        starts: Of the components.
        widths: Of the components.
        size: Length of the axis.

    Raises:
        InvalidInputError: Naming what is wrong and the limit.
    """
    if size < 1:
        raise InvalidInputError(f"a factor's axis must have at least one entry (got {size})")
    for name, array in (("starts", starts), ("widths", widths)):
        if array.ndim != 1 or array.dtype != np.int64:
            raise InvalidInputError(f"{name} must be int64 (K,) (got {array.dtype} {array.shape})")
    if starts.shape != widths.shape:
        raise InvalidInputError(
            f"there must be as many starts as widths (got {starts.size} and {widths.size})"
        )
    if starts.size and (starts.min() < 0 or starts.max() >= size):
        raise InvalidInputError(
            f"starts must lie in 0 .. {size - 1} (got {starts.min()} to {starts.max()}); "
            f"take them modulo {size}"
        )
    if widths.size and (widths.min() < 1 or widths.max() > size):
        raise InvalidInputError(
            f"widths must lie in 1 .. {size} (got {widths.min()} to {widths.max()}); "
            "leave empty components out"
        )
    if values != (int(widths.sum()),):
        raise InvalidInputError(
            f"values must be ({int(widths.sum())},), the sum of the widths (got {tuple(values)})"
        )


def covering_intervals(rows: NDArray[Any]) -> tuple[Integers, Integers]:
    """Find the shortest circular interval that holds everything non-zero of each row.

    Args:
        rows: (K, size).

    Returns:
        Starts and widths, int64 (K,); width 0 where a row is all zero.
    """
    found = [_covering(np.flatnonzero(row), rows.shape[1]) for row in rows]
    starts, widths = np.array(found, np.int64).reshape(-1, 2).T.copy()
    return starts, widths


def _covering(filled: Integers, size: int) -> tuple[int, int]:
    """What the longest circular gap leaves; of several the last, so that little wraps around."""
    if not filled.size:
        return 0, 0
    gaps = np.diff(filled, append=filled[0] + size)
    last = filled.size - 1 - int(np.argmax(gaps[::-1]))
    return int(filled[(last + 1) % filled.size]), size - int(gaps[last]) + 1
