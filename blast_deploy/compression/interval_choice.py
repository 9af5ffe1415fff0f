"""Which circular interval each component should cover, given what an entry is worth and what it costs.

For components u_k v_k^T with all but one vector fixed, that vector's best values are known, and so is by how
much each of its entries lowers the squared error: its gain. An interval is worth the sum of its gains less a
price for each entry, and the best one is found in linear time (the largest sum of neighbours, on a circle).
Vectors are chosen one after another, each seeing what those before it have become, so that two components
never claim the same part of the weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]
"""Float32 or float64, as the weight."""
_CHANGES = 32
"""Components whose changes are put off."""


@dataclass
class Side:
    """One side of all components while they are searched for; changed in place.

    Attributes:
        vectors: Float (K, size), zero outside the intervals.
        starts: Int64 (K,).
        widths: Int64 (K,); 0 where a component has died.
    """

    vectors: Array
    starts: NDArray[np.int64]
    widths: NDArray[np.int64]

    @classmethod
    def full(cls, vectors: Array) -> Side:
        """Cover the whole axis with every component."""
        count, size = vectors.shape
        return cls(vectors, np.zeros(count, np.int64), np.full(count, size, np.int64))

    def mask(self) -> Array:
        """One inside the intervals and zero outside, (K, size) of the vectors' type."""
        size = self.vectors.shape[1]
        inside = (np.arange(size) - self.starts[:, None]) % size < self.widths[:, None]
        mask: Array = inside.astype(self.vectors.dtype)
        return mask

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Drop all other components."""
        self.vectors = self.vectors[chosen]
        self.starts, self.widths = self.starts[chosen], self.widths[chosen]

    def copy(self) -> Side:
        """A copy that shares nothing."""
        return Side(self.vectors.copy(), self.starts.copy(), self.widths.copy())


def multiply(left: Array, right: Array) -> Array:
    """Multiply by torch, which keeps to the threads that it is allowed, as NumPy does not."""
    product: Array = torch.matmul(torch.from_numpy(left), torch.from_numpy(right)).numpy()
    return product


def best_interval(gains: Array) -> tuple[int, int]:
    """Find the circular interval of the largest sum.

    Args:
        gains: Float (size,), what each entry is worth less its price.

    Returns:
        Start and width; width 0 where no interval is worth anything.
    """
    size = len(gains)
    total = np.empty(size + 1)
    total[0] = 0
    np.cumsum(gains, out=total[1:])
    # An interval that does not wrap around ends where the sum is highest above the lowest before it.
    rises = total[1:] - np.minimum.accumulate(total[:-1])
    end = int(rises.argmax())
    # One that does leaves out what falls deepest.
    falls = total[1:] - np.maximum.accumulate(total[:-1])
    gap_end = int(falls.argmin())
    straight, wrapped = float(rises[end]), float(total[-1] - falls[gap_end])
    if wrapped > max(straight, 0.0):
        gap_start = int(total[: gap_end + 1].argmax())
        return (gap_end + 1) % size, size - (gap_end + 1 - gap_start)
    if straight <= 0:
        return 0, 0
    start = int(total[: end + 1].argmin())
    return start, end + 1 - start


def choose(side: Side, gram: Array, target: Array, price: float, order: Iterable[int]) -> None:
    """Give components, one after another, their best interval and the best values there.

    The squared error is ``sum_i (a_i^T G a_i - 2 a_i^T c_i)`` and a constant, over the columns: entries of
    different columns do not touch.

    Args:
        side: Vectors a; changed.
        gram: G, (K, K): products of the other side's vectors.
        target: C, (K, size): products of those vectors with the weight.
        price: What an entry costs, in squared error.
        order: Components in the order in which they choose.
    """
    vectors, size = side.vectors, side.vectors.shape[1]
    for k in order:
        own = float(gram[k, k])
        if own <= 0:
            side.widths[k] = 0
            vectors[k] = 0
            continue
        ideal = vectors[k] + (target[k] - multiply(gram[k], vectors)) / own
        start, width = best_interval(np.square(ideal, dtype=np.float64) * own - price)
        vectors[k] = 0
        for part in parts(start, width, size):
            vectors[k, part] = ideal[part]
        side.starts[k], side.widths[k] = start, width


class _Residual:
    """Rows of ``T - G A H`` while the vectors A change: what changes is put off until it is enough."""

    def __init__(self, residual: Array, gram: Array) -> None:
        """Take the residual (K, size) as it is, which is kept up to date, and G (K, K)."""
        self._residual, self._gram = residual, gram
        self._changed: list[int] = []
        self._images = np.empty((_CHANGES, residual.shape[1]), residual.dtype)

    def row(self, k: int) -> Array:
        """That of one component, up to date."""
        row: Array = self._residual[k].copy()
        if self._changed:
            row -= multiply(self._gram[k, self._changed], self._images[: len(self._changed)])
        return row

    def change(self, k: int, image: Array) -> None:
        """Note that a component's row of ``A H`` has grown by an image (size,)."""
        self._images[len(self._changed)] = image
        self._changed.append(k)
        if len(self._changed) == _CHANGES:
            self.settle()

    def settle(self) -> None:
        """Bring all rows up to date."""
        if self._changed:
            self._residual -= multiply(self._gram[:, self._changed], self._images[: len(self._changed)])
            self._changed.clear()


def choose_coupled(
    side: Side, gram: Array, residual: Array, metric: Array, price: float, order: Iterable[int]
) -> None:
    """Do as :func:`choose` where a metric couples the entries: the error is ``tr(V^T G V H) - 2 tr(V^T T)``.

    Gains are those of each entry by itself, the others fixed. What leaves an interval is set to zero; what is
    inside goes down its own slopes as far as is best.

    Args:
        side: Vectors V; changed.
        gram: G, (K, K).
        residual: ``T - G V H`` (K, size); kept up to date.
        metric: H, (size, size), symmetric positive definite.
        price: What an entry costs.
        order: Components in the order in which they choose.
    """
    vectors, size, weights = side.vectors, side.vectors.shape[1], metric.diagonal().copy()
    rows = _Residual(residual, gram)
    for k in order:
        own = float(gram[k, k])
        if own <= 0:
            side.widths[k] = 0
            vectors[k] = 0
            continue
        row = rows.row(k)
        ideal = vectors[k] + row / (own * weights)
        gains = np.square(ideal, dtype=np.float64) * weights * own - price
        start, width = best_interval(gains)
        removal, slope = -vectors[k], np.zeros_like(ideal)
        for part in parts(start, width, size):
            slope[part] = ideal[part] - vectors[k, part]
            removal[part] = 0
        removal_image, slope_image = multiply(np.stack([removal, slope]), metric)
        curvature = own * float(slope @ slope_image)
        descent = float(slope @ (row - own * removal_image))
        step = min(max(descent / curvature, 0.0), 1.0) if curvature > 0 else 0.0
        vectors[k] += removal + step * slope
        rows.change(k, removal_image + step * slope_image)
        side.starts[k], side.widths[k] = start, width
    rows.settle()


def parts(start: int, width: int, size: int) -> tuple[slice, ...]:
    """A circular interval as one or two slices; none where it is empty."""
    if width == 0:
        return ()
    end = start + width
    return (slice(start, end),) if end <= size else (slice(start, size), slice(0, end - size))
