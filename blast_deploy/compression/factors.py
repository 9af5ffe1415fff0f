"""The three factors as torch tensors: start, scaling, and the way to and from a weight matrix.

Sizes that do not divide are zero-padded here, once: the exact minimiser of any of the methods has zeros in
the padding, so it costs no accuracy, and it is cleared and not counted at the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.matrix import BlastMatrix


@dataclass(frozen=True)
class Factors:
    """Factors of a BLAST matrix whose block (i, j) is ``U_i diag(S_ij) V_j``.

    Attributes:
        u: Float (b1, p, r).
        s: Float (b1, b2, r).
        v: Float (b2, r, q).
    """

    u: Tensor
    s: Tensor
    v: Tensor

    def dense(self) -> Tensor:
        """Multiply out to (b1 p, b2 q), padding included."""
        rows = [
            torch.matmul(u, (s.unsqueeze(-1) * self.v).transpose(0, 1).flatten(1))
            for u, s in zip(self.u, self.s, strict=True)
        ]
        return torch.cat(rows)

    def scaled(self, factor: float) -> Factors:
        """Multiply the matrix by a positive number, shared between U and V."""
        root = math.sqrt(factor)
        return Factors(self.u * root, self.s, self.v * root)

    def balanced(self) -> Factors:
        """Give every rank-one component equally large u and v, and s of unit root mean square.

        The matrix stays the same; the factors keep clear of overflow in narrow dtypes.
        """
        u_norm = self.u.square().sum((0, 1)).sqrt()
        v_norm = self.v.square().sum((0, 2)).sqrt()
        s_norm = self.s.square().mean((0, 1)).sqrt()
        share = (u_norm * v_norm * s_norm).sqrt()

        def ratio(norm: Tensor) -> Tensor:
            return torch.where(norm > 0, share / norm, torch.zeros_like(norm))

        s = torch.where(s_norm > 0, self.s / s_norm, torch.zeros_like(self.s))
        return Factors(self.u * ratio(u_norm), s, self.v * ratio(v_norm)[:, None])


def check_weight(weight: Tensor, blocks: tuple[int, int], rank: int) -> None:
    """Refuse what cannot be factorised.

    Raises:
        InvalidInputError: If the weight is not a non-empty floating-point matrix, holds NaN or infinity, or
            the blocks or the rank are not positive.
    """
    if weight.dim() != 2 or weight.numel() == 0 or not weight.is_floating_point():
        raise InvalidInputError(
            f"the weight must be a non-empty float matrix (got {weight.dtype}, {tuple(weight.shape)})"
        )
    if min(*blocks, rank) < 1:
        raise InvalidInputError(
            f"blocks and rank must be positive (got {blocks[0]} x {blocks[1]} and {rank})"
        )
    if not bool(torch.isfinite(weight).all()):
        raise InvalidInputError(
            "the weight holds NaN or infinity, which no factors can match; mend the model"
        )


def padded(weight: Tensor, blocks: tuple[int, int]) -> Tensor:
    """Give the weight as block rows, zero-padded, at float32 or float64.

    Args:
        weight: Float (m, n).
        blocks: b1 and b2.

    Returns:
        Contiguous float (b1, ceil(m / b1), b2 ceil(n / b2)); float64 for a float64 weight.
    """
    b1, b2 = blocks
    m, n = weight.shape
    p, width = math.ceil(m / b1), b2 * math.ceil(n / b2)
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    block_rows = torch.zeros(b1 * p, width, dtype=dtype)
    block_rows[:m, :n] = weight.detach()
    return block_rows.reshape(b1, p, width)


def low_rank_start(
    left: Tensor, right: Tensor, blocks: tuple[int, int], rank: int, seed: int
) -> tuple[Factors, Factors]:
    """Cut a low-rank product ``left @ right`` into factors of a given rank.

    Args:
        left: Float (b1 p, k).
        right: Float (k, b2 q).
        blocks: b1 and b2.
        rank: r; the first r components are taken if k is larger, and zeros fill up if it is smaller.
        seed: Of the random numbers.

    Returns:
        The product itself, S all 1, and a start for the search. There ``S = 1 + 0.1 randn`` lets the blocks
        part ways, and components past k are small and random, since they could not grow from zero.
    """
    generator = torch.Generator().manual_seed(seed)
    b1, b2 = blocks
    count = min(rank, left.shape[1])
    u = left.new_zeros(b1, left.shape[0] // b1, rank)
    u[:, :, :count] = torch.unflatten(left[:, :count], 0, (b1, -1))
    v = right.new_zeros(b2, rank, right.shape[1] // b2)
    v[:, :count] = torch.unflatten(right[:count], 1, (b2, -1)).transpose(0, 1)
    low_rank = Factors(u, left.new_ones(b1, b2, rank), v)

    def random(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    s = 1 + 0.1 * random(low_rank.s)
    u, v = u.clone(), v.clone()
    for factor in (u[:, :, count:], v[:, count:]):
        factor.copy_(0.1 * random(factor) * math.sqrt(float(u.square().mean())))
    return low_rank, Factors(u, s, v)


def better(first: Factors, second: Factors, target: Tensor, metric: Tensor | None = None) -> Factors:
    """Give those factors that are closer to the target, the first if both are equally close.

    Args:
        first: Some factors.
        second: Others of the same shapes.
        target: W as block rows, float (b1, p, b2 q).
        metric: H of the norm ``||E H^(1/2)||_F``, float (b2 q, b2 q); the identity if None.
    """

    def distance(factors: Factors) -> float:
        residual = factors.dense() - target.flatten(0, 1)
        image = residual if metric is None else residual @ metric
        return float((image * residual).sum(dtype=torch.float64))

    return second if distance(second) < distance(first) else first


def to_matrix(factors: Factors, weight: Tensor) -> BlastMatrix:
    """Give the factors, balanced and with clear padding, as the BLAST matrix that stands for a weight."""
    m, n = weight.shape
    balanced = factors.balanced()
    u, v = balanced.u.contiguous(), balanced.v.contiguous()
    u.flatten(0, 1)[m:] = 0
    padding = torch.arange(v.shape[0] * v.shape[2]).reshape(v.shape[0], 1, v.shape[2]) >= n
    v.masked_fill_(padding, 0)
    return BlastMatrix(u.numpy(), balanced.s.contiguous().numpy(), v.numpy(), m, n)
