"""The GBLR matrix in NumPy: float64 truth and costs.

Source: Gaudi-GBLR, arXiv 2310.18882: a sum of components of rank one, each on a block whose rows
and columns are circular intervals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.results import Cost
from blast_deploy.structures.gblr.intervals import IntervalFactor

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class GblrMatrix:
    """An ``out_features x in_features`` matrix ``sum_k u_k v_k^T``, every u_k and v_k on an interval.

    Attributes:
        u: The K left vectors, on intervals of the out_features rows.
        v: The K right vectors, on intervals of the in_features columns.

    Raises:
        InvalidInputError: If there are not as many left as right vectors.
    """

    u: IntervalFactor
    v: IntervalFactor

    def __post_init__(self) -> None:
        if self.u.components != self.v.components:
            raise InvalidInputError(
                "a GBLR matrix must have as many left as right vectors "
                f"(got {self.u.components} and {self.v.components})"
            )

    @property
    def out_features(self) -> int:
        """Rows m of the matrix."""
        return self.u.size

    @property
    def in_features(self) -> int:
        """Columns n of the matrix."""
        return self.v.size

    @property
    def components(self) -> int:
        """Number K of components; 0 for the zero matrix."""
        return self.u.components

    @property
    def cost(self) -> Cost:
        """One parameter for each value, and two operations for each of them and row."""
        return cost(len(self.u.values), len(self.v.values))

    @property
    def indices(self) -> int:
        """Whole numbers stored beside the parameters: starts and widths."""
        return 4 * self.components

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The operator's inputs by their names in the contract, in order, without X and the bias."""
        return {
            f"{name}{part}": values
            for name, side in (("u", self.u), ("v", self.v))
            for part, values in (("", side.values), ("_start", side.starts), ("_width", side.widths))
        }

    def dense(self) -> Float64:
        """Multiply out to a float64 (out_features, in_features) array."""
        weight: Float64 = self.u.dense().T @ self.v.dense()
        return weight

    def apply(self, x: NDArray[np.floating], bias: NDArray[np.floating] | None = None) -> Float64:
        """Compute ``x @ W.T + bias`` in float64, component by component.

        Args:
            x: Rows, float (..., in_features).
            bias: Float (out_features,), or None for zeros.

        Returns:
            Float64 (..., out_features).

        Raises:
            InvalidInputError: If the last axis of ``x`` is not in_features long.
        """
        if x.shape[-1:] != (self.in_features,):
            raise InvalidInputError(
                f"the last axis of the input must be {self.in_features} (got shape {x.shape})"
            )
        rows = x.reshape(math.prod(x.shape[:-1]), self.in_features).astype(np.float64)
        y: Float64 = (rows @ self.v.dense().T) @ self.u.dense()
        if bias is not None:
            y = y + bias.astype(np.float64)
        return y.reshape(*x.shape[:-1], self.out_features)


def cost(u_values: int, v_values: int) -> Cost:
    """Parameters and operations per row of a GBLR matrix of so many left and right values."""
    parameters = u_values + v_values
    return Cost(parameters=parameters, flops_per_row=2 * parameters)
