"""The GBLR matrices that are timed: synthetic ones and learned ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blast_deploy.calibration.gblr_case import random_matrix
from blast_deploy.structures.gblr.intervals import IntervalFactor
from blast_deploy.structures.gblr.matrix import GblrMatrix

SIZES = ((768, 768), (768, 3072), (3072, 768), (384, 1536))
RATIOS = (0.15, 0.30, 0.43, 0.50)


@dataclass(frozen=True)
class Structure:
    """A matrix to time, and what it is called."""

    name: str
    matrix: GblrMatrix

    @property
    def ideal(self) -> float:
        """Speed-up over dense if time followed the parameters."""
        size = self.matrix.out_features * self.matrix.in_features
        return size / self.matrix.cost.parameters

    def copies(self, count: int) -> Iterator[GblrMatrix]:
        """Matrices on the same intervals, all different so that no runtime can take two for the same."""
        for index in range(count):
            values = self.matrix.u.values * np.float32(1 + index / 64)
            yield GblrMatrix(dataclasses.replace(self.matrix.u, values=values), self.matrix.v)


def synthetic(out_features: int, in_features: int, ratio: float) -> Structure:
    """Intervals anywhere, as the planner's constants are fitted to."""
    name = f"{out_features} x {in_features}, {ratio:.0%}"
    return Structure(name, random_matrix(out_features, in_features, ratio))


def learned(path: Path) -> Structure:
    """What the original code learned for a layer; in ``w`` and ``l`` row 0 is of the rows."""
    with np.load(path) as file:
        widths, starts, left, right = (file[key] for key in ("w", "l", "U", "Vt"))
    vectors = left[:, :, 0].T, right[:, 0, :]
    sizes = [each.shape[1] for each in vectors]
    found = [np.rint(width * size).astype(np.int64) for width, size in zip(widths, sizes, strict=True)]
    live = (found[0] >= 2) & (found[1] >= 2)
    sides = []
    for rows, width, start, size in zip(vectors, found, starts, sizes, strict=True):
        first = np.rint(start * size).astype(np.int64) % size
        sides.append(IntervalFactor.from_dense(rows[live], first[live], np.minimum(width[live], size)))
    return Structure(path.stem, GblrMatrix(*sides))
