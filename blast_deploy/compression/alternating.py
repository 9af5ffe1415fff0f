"""The data-free default: exact alternating least squares on Gram matrices, with Nesterov's extrapolation.

Minimises ``||W - A||_F^2``. Each of U, V and S is minimised exactly with the others fixed. The matrices of
the normal equations come from r x r Gram matrices; of the weight, a sweep needs two products with factors.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from blast_deploy.compression.acceleration import Descent, State
from blast_deploy.compression.factors import (
    Factors,
    better,
    check_weight,
    low_rank_start,
    padded,
    to_matrix,
)
from blast_deploy.compression.normal_equations import coupled_gram, coupled_sum, inverse, solve
from blast_deploy.structures.blast.matrix import BlastMatrix

SWEEPS = 80
TRIAL = 3
"""Sweeps that each start is given before they are compared."""
LEAD = 0.96
"""What the other start's error must be below by then, relative to the low-rank start's, to be preferred. It
is often a little ahead at first and falls behind later; on MiniLM a lead of 4% lasts."""


@torch.no_grad()
def factorise(
    weight: Tensor,
    blocks: tuple[int, int],
    rank: int,
    *,
    seed: int = 0,
    sweeps: int = SWEEPS,
    on_sweep: Callable[[], None] | None = None,
) -> BlastMatrix:
    """Factorise a weight, never ending worse than its truncated singular value decomposition of equal rank.

    Two starts, that decomposition and those of the block rows, are tried for a few sweeps, and one goes on.

    Args:
        weight: Float (m, n).
        blocks: b1 and b2.
        rank: r.
        seed: Of the start's random part.
        sweeps: How often U, V and S are minimised at most; the trial of the other start comes on top, and a
            quarter more if that one is taken.
        on_sweep: Called at every sweep; what it raises ends the work.

    Raises:
        InvalidInputError: If the weight, blocks or rank cannot be factorised.
    """
    check_weight(weight, blocks, rank)
    target = padded(weight, blocks)
    norm = float(torch.linalg.vector_norm(target, dtype=torch.float64)) or 1.0
    target = target / norm
    left, values, right = torch.linalg.svd(target.flatten(0, 1), full_matrices=False)
    root = values.sqrt()
    low_rank, start = low_rank_start(left * root, root[:, None] * right, blocks, rank, seed)
    problem = _Problem(target, start)
    trial = min(TRIAL, sweeps)
    descent = Descent(problem.sweep, (start.u, start.s, start.v)).run(trial - 1, on_sweep)
    if blocks[0] > 1:
        start = block_row_start(target, blocks[1], rank, seed)
        other = Descent(problem.sweep, (start.u, start.s, start.v)).run(trial - 1, on_sweep)
        if math.sqrt(max(other.error, 0.0)) < LEAD * math.sqrt(max(descent.error, 0.0)):
            # The weight is far from low rank, and the descent slower.
            descent, sweeps = other, sweeps + sweeps // 4
    best = Factors(*descent.run(sweeps - trial, on_sweep).best)
    return to_matrix(better(best, low_rank, target).scaled(norm), weight)


def block_row_start(target: Tensor, b2: int, rank: int, seed: int) -> Factors:
    """Start from the singular value decomposition of every block row, the ranks shared out evenly.

    Where block rows have little in common, this is far nearer than one decomposition of the whole. Noise lets
    the other block rows take part in each component.

    Args:
        target: W as block rows, float (b1, p, b2 q).
        b2: Block columns.
        rank: r.
        seed: Of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    b1, p, width = target.shape
    left, values, right = torch.linalg.svd(target, full_matrices=False)
    root = values.sqrt().unsqueeze(1)
    left, right = left * root, torch.unflatten(right * root.mT, 2, (b2, -1)).transpose(1, 2)
    u, s, v = (
        target.new_zeros(b1, p, rank),
        target.new_zeros(b1, b2, rank),
        target.new_zeros(b2, rank, width // b2),
    )
    for i in range(b1):
        first = i * rank // b1
        count = min((i + 1) * rank // b1 - first, values.shape[1])
        component = slice(first, first + count)
        u[i, :, component] = left[i, :, :count]
        s[i, :, component] = 1
        v[:, component] = right[i, :, :count]
    for factor in (u, s, v):
        noise = torch.randn(factor.shape, generator=generator, dtype=factor.dtype)
        factor.add_(noise, alpha=0.1 * math.sqrt(float(factor.square().mean())))
    return Factors(u, s, v)


class _Problem:
    """One weight, the sweeps over its factors, and the memory that they work in.

    Large results go to memory that is allocated once: fresh pages cost more than the arithmetic.
    """

    def __init__(self, target: Tensor, start: Factors) -> None:
        """Take W as block rows, float (b1, p, b2 q)."""
        b1, p, width = target.shape
        b2, rank, q = start.v.shape
        self._rows = target
        self._columns = torch.unflatten(target.flatten(0, 1), 1, (b2, q)).permute(1, 2, 0).contiguous()
        self._square = float(target.double().square().sum())
        self._row_products = target.new_empty(b2, rank, b1 * p)
        self._column_products = target.new_empty(b1, rank, width)
        self._right_u = target.new_empty(b1, rank, p)
        self._right_v = target.new_empty(b2, rank, q)
        self._grams = target.new_empty(2, max(b1, b2), rank, rank)

    def sweep(self, state: State) -> float:
        """Minimise over U, V and S in turn and give ``||W - A||_F^2``."""
        u, s, v = state
        self._minimise_u(u, s, v)
        gram_u = u.mT @ u
        torch.bmm(u.mT, self._rows, out=self._column_products)
        self._minimise_v(gram_u, s, v)
        return self._minimise_s(gram_u, s, v)

    def _minimise_u(self, u: Tensor, s: Tensor, v: Tensor) -> None:
        """``U_i^T = (sum_j S_ij S_ij^T * V_j V_j^T)^-1 sum_j diag(S_ij) V_j W_ij^T``."""
        torch.bmm(v, self._columns, out=self._row_products)
        products = torch.unflatten(self._row_products, 2, (s.shape[0], -1)).transpose(1, 2)
        gram = coupled_gram(v @ v.mT, s, *self._grams[:, : len(u)])
        torch.bmm(coupled_sum(products, s, out=self._right_u).mT, inverse(gram), out=u)

    def _minimise_v(self, gram_u: Tensor, s: Tensor, v: Tensor) -> None:
        """``V_j = (sum_i S_ij S_ij^T * U_i^T U_i)^-1 sum_i diag(S_ij) U_i^T W_ij``."""
        products = torch.unflatten(self._column_products, 2, (s.shape[1], -1)).transpose(1, 2)
        couplings = s.transpose(0, 1)
        gram = coupled_gram(gram_u, couplings, *self._grams[:, : len(v)])
        torch.bmm(inverse(gram), coupled_sum(products, couplings, out=self._right_v), out=v)

    def _minimise_s(self, gram_u: Tensor, s: Tensor, v: Tensor) -> float:
        """``S_ij = (U_i^T U_i * V_j V_j^T)^-1 diag(U_i^T W_ij V_j^T)``; gives ``||W - A||_F^2``."""
        gram_v = v @ v.mT
        products = torch.unflatten(self._column_products, 2, (v.shape[0], -1)).transpose(1, 2)
        error = self._square
        for i, product in enumerate(products):
            right = torch.mul(product, v, out=self._right_v).sum(2)
            gram = torch.mul(gram_u[i], gram_v, out=self._grams[0, : len(v)])
            s[i] = solve(gram, right)
            # sum_j ||W_ij - A_ij||^2 = sum_j ||W_ij||^2 + S_ij^T (G S_ij - 2 R)
            image = torch.bmm(gram, s[i].unsqueeze(2)).squeeze(2)
            error += float((s[i] * (image - 2 * right)).sum(dtype=torch.float64))
        return error
