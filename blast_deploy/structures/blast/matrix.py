"""The BLAST matrix in NumPy: float64 truth, costs, and exact embeddings of other structures.

Source: BLAST, arXiv 2410.21262, eq. 1-2. Our ``V_j`` (r x q) is the paper's ``V_j`` transposed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.results import Cost

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class BlastMatrix:
    """An ``out_features x in_features`` matrix whose block (i, j) is ``U_i diag(S_ij) V_j``.

    Attributes:
        u: Left factors, float (b1, p, r) with ``p = ceil(out_features / b1)``.
        s: Couplings, float (b1, b2, r).
        v: Right factors, float (b2, r, q) with ``q = ceil(in_features / b2)``.
        out_features: Rows m of the matrix; rows of U past it are padding.
        in_features: Columns n of the matrix; columns of V past it are padding.

    Raises:
        InvalidInputError: If the factors disagree with each other or with the sizes.
    """

    u: NDArray[np.floating]
    s: NDArray[np.floating]
    v: NDArray[np.floating]
    out_features: int
    in_features: int

    def __post_init__(self) -> None:
        check_shapes(self.u.shape, self.s.shape, self.v.shape, self.out_features, self.in_features)

    @property
    def blocks(self) -> tuple[int, int]:
        """Block rows b1 and block columns b2."""
        return self.u.shape[0], self.v.shape[0]

    @property
    def rank(self) -> int:
        """Rank r shared by all blocks."""
        return int(self.u.shape[2])

    @property
    def cost(self) -> Cost:
        """Parameters r(m + n + b1 b2) and two operations for each of them and row; padding is free."""
        return cost(self.out_features, self.in_features, self.blocks, self.rank)

    def dense(self) -> Float64:
        """Multiply out to a float64 (out_features, in_features) array."""
        (b1, b2), height, width = self.blocks, self.u.shape[1], self.v.shape[2]
        padded = np.empty((b1 * height, b2 * width))
        # Block by block: one product over all blocks would be slow and need b1 b2 p r values besides.
        for i, j in np.ndindex(b1, b2):
            left = self.u[i].astype(np.float64) * self.s[i, j].astype(np.float64)
            block = padded[i * height : (i + 1) * height, j * width : (j + 1) * width]
            np.matmul(left, self.v[j].astype(np.float64), out=block)
        return padded[: self.out_features, : self.in_features]

    def apply(self, x: NDArray[np.floating], bias: NDArray[np.floating] | None = None) -> Float64:
        """Compute ``x @ W.T + bias`` in float64, factor by factor.

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
        b1, p, _ = self.u.shape
        b2, _, q = self.v.shape
        rows = math.prod(x.shape[:-1])
        padded = np.zeros((rows, b2 * q))
        padded[:, : self.in_features] = x.reshape(rows, self.in_features)
        z = np.einsum("njq,jrq->njr", padded.reshape(rows, b2, q), self.v.astype(np.float64), optimize=True)
        w = np.einsum("ijr,njr->nir", self.s.astype(np.float64), z, optimize=True)
        y: Float64 = np.einsum("ipr,nir->nip", self.u.astype(np.float64), w, optimize=True)
        y = y.reshape(rows, b1 * p)[:, : self.out_features]
        if bias is not None:
            y = y + bias.astype(np.float64)
        return y.reshape(*x.shape[:-1], self.out_features)


def check_shapes(
    u: tuple[int, ...], s: tuple[int, ...], v: tuple[int, ...], out_features: int, in_features: int
) -> None:
    """Refuse factor shapes that do not make one BLAST matrix.

    Raises:
        InvalidInputError: Naming the factor, the shape it has and the shape it must have.
    """
    if out_features < 1 or in_features < 1:
        raise InvalidInputError(
            f"out_features and in_features must be positive (got {out_features} and {in_features})"
        )
    if len(u) != 3 or len(s) != 3 or len(v) != 3 or min(*u, *s, *v) < 1:
        raise InvalidInputError(f"U, S and V must have three non-empty axes each (got {u}, {s} and {v})")
    b1, rank, b2 = u[0], u[2], v[0]
    expected = {
        "U": (u, (b1, math.ceil(out_features / b1), rank)),
        "S": (s, (b1, b2, rank)),
        "V": (v, (b2, rank, math.ceil(in_features / b2))),
    }
    for name, (found, needed) in expected.items():
        if tuple(found) != needed:
            raise InvalidInputError(
                f"{name} must be {needed} for {out_features} x {in_features} in {b1} x {b2} blocks "
                f"of rank {rank} (got {tuple(found)})"
            )


def cost(out_features: int, in_features: int, blocks: tuple[int, int], rank: int) -> Cost:
    """Parameters r(m + n + b1 b2) and operations per row of a BLAST matrix (arXiv 2410.21262, section 2)."""
    parameters = rank * (out_features + in_features + blocks[0] * blocks[1])
    return Cost(parameters=parameters, flops_per_row=2 * parameters)


def rank_for(out_features: int, in_features: int, blocks: tuple[int, int], keep: float) -> int:
    """Largest rank whose parameters stay within ``keep`` of the dense matrix's; may be 0."""
    per_rank = out_features + in_features + blocks[0] * blocks[1]
    return int(keep * out_features * in_features / per_rank)


def split_rows(matrix: NDArray[np.floating], count: int) -> NDArray[np.floating]:
    """Cut (m, ...) into ``count`` blocks of ceil(m / count) rows, zero-padded at the end."""
    height = math.ceil(matrix.shape[0] / count)
    padded = np.zeros((height * count, *matrix.shape[1:]), dtype=matrix.dtype)
    padded[: matrix.shape[0]] = matrix
    return padded.reshape(count, height, *matrix.shape[1:])
