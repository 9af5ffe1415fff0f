"""The paper's method: preconditioned gradient descent (BLAST, arXiv 2410.21262, Algorithm 2).

It is the reference that faster methods are measured against. It descends on ``l = 1/2 ||A - W||_F^2`` in turn
for U, V and S, each gradient multiplied by the inverse of its damped Gram matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from blast_deploy.compression.factors import Factors, check_weight, padded, to_matrix
from blast_deploy.structures.blast.matrix import BlastMatrix

ITERATIONS = 300
DELTA = 0.1
STEP = 2.0
"""Of the first iteration; it decays linearly to 0. The published code takes step 1 on ``||A - W||_F^2``, that
is step 2 on the paper's loss; on MiniLM this ends lower than step 1."""

_START_SCALE = 1e-3


@torch.no_grad()
def factorise(
    weight: Tensor,
    blocks: tuple[int, int],
    rank: int,
    *,
    seed: int = 0,
    iterations: int = ITERATIONS,
    delta: float = DELTA,
    step: float = STEP,
    on_sweep: Callable[[], None] | None = None,
) -> BlastMatrix:
    """Factorise a weight by Algorithm 2 from a small random start.

    Args:
        weight: Float (m, n).
        blocks: b1 and b2.
        rank: r.
        seed: Of the random start.
        iterations: How often U, V and S are updated.
        delta: The paper's delta_0: damping relative to the norm of the residual.
        step: First step size.
        on_sweep: Called after each iteration; what it raises ends the work.

    Raises:
        InvalidInputError: If the weight, blocks or rank cannot be factorised.
    """
    check_weight(weight, blocks, rank)
    target = padded(weight, blocks)
    norm = float(torch.linalg.vector_norm(target, dtype=torch.float64))
    scale = norm / math.sqrt(weight.numel()) or 1.0
    target = target / scale
    factors = random_start(target, blocks[1], rank, torch.Generator().manual_seed(seed))
    for iteration in range(iterations):
        factors = descend(target, factors, step * (1 - iteration / iterations), delta)
        if on_sweep is not None:
            on_sweep()
    return to_matrix(factors.scaled(scale), weight)


def random_start(target: Tensor, b2: int, rank: int, generator: torch.Generator) -> Factors:
    """Draw small U and V and standard normal S, as the published code does.

    Args:
        target: Float (b1, p, b2 q), of unit root mean square.
        b2: Block columns.
        rank: r.
        generator: Source of the random numbers.
    """
    b1, p, width = target.shape

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=target.dtype)

    small = _START_SCALE / math.sqrt(rank)
    return Factors(small * random(b1, p, rank), random(b1, b2, rank), small * random(b2, rank, width // b2))


def descend(target: Tensor, factors: Factors, step: float, delta: float) -> Factors:
    """Do one iteration of Algorithm 2: update U, then V, then S.

    Args:
        target: W as block rows, float (b1, p, b2 q).
        factors: Where to start.
        step: The paper's eta.
        delta: The paper's delta_0.
    """
    u, s, v = factors.u, factors.s, factors.v
    gradient, gram, error = gradient_u(target, Factors(u, s, v))
    u = u - step * _preconditioned(gradient.mT, gram, delta * error).mT
    gradient, gram, error = gradient_v(target, Factors(u, s, v))
    v = v - step * _preconditioned(gradient, gram, delta * error)
    gradient, gram, error = gradient_s(target, Factors(u, s, v))
    s = s - step * _preconditioned(gradient.unsqueeze(-1), gram, delta * error).squeeze(-1)
    return Factors(u, s, v)


def gradient_u(target: Tensor, factors: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate for U: with ``V̄_i = [diag(S_ij) V_j]_j``, the gradient is ``(U_i V̄_i - W_i) V̄_i^T``.

    Returns:
        The gradient (b1, p, r), the Gram matrices ``V̄_i V̄_i^T`` (b1, r, r), and ``||A - W||_F``.
    """
    coupled = _coupled_v(factors)
    residual = torch.baddbmm(target, factors.u, coupled, beta=-1)
    return residual @ coupled.mT, coupled @ coupled.mT, torch.linalg.vector_norm(residual)


def gradient_v(target: Tensor, factors: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate for V: with ``Ū_j = [U_i diag(S_ij)]_i``, the gradient is ``Ū_j^T (Ū_j V_j - W_j)``.

    Returns:
        The gradient (b2, r, q), the Gram matrices ``Ū_j^T Ū_j`` (b2, r, r), and ``||A - W||_F``.
    """
    b1, p, rank = factors.u.shape
    b2, _, q = factors.v.shape
    coupled = (factors.u * factors.s.transpose(0, 1).unsqueeze(2)).reshape(b2, b1 * p, rank)
    columns = target.reshape(b1 * p, b2, q).transpose(0, 1)
    residual = torch.baddbmm(columns, coupled, factors.v, beta=-1)
    return coupled.mT @ residual, coupled.mT @ coupled, torch.linalg.vector_norm(residual)


def gradient_s(target: Tensor, factors: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate for S: the gradient for S_ij is ``diag(U_i^T (A_ij - W_ij) V_j^T)``.

    Returns:
        The gradient (b1, b2, r), the Gram matrices ``(U_i^T U_i) * (V_j V_j^T)`` (b1, b2, r, r), and
        ``||A - W||_F``.
    """
    u, v = factors.u, factors.v
    b1, _, rank = u.shape
    b2, _, q = v.shape
    residual = torch.baddbmm(target, u, _coupled_v(factors), beta=-1)
    projected = (u.mT @ residual).reshape(b1, rank, b2, q)
    gradient = torch.einsum("irjq,jrq->ijr", projected, v)
    gram = (u.mT @ u).unsqueeze(1) * (v @ v.mT)
    return gradient, gram, torch.linalg.vector_norm(residual)


def _coupled_v(factors: Factors) -> Tensor:
    b1, _, rank = factors.u.shape
    coupled = factors.s.unsqueeze(-1) * factors.v
    return coupled.transpose(1, 2).reshape(b1, rank, -1)


def _preconditioned(gradient: Tensor, gram: Tensor, damping: Tensor) -> Tensor:
    """Solve ``(gram + damping I) x = gradient``, the damping never below the Gram matrices' rounding.

    The Gram matrices are overwritten.
    """
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    diagonal += torch.maximum(damping, torch.finfo(gram.dtype).eps * diagonal.max())
    solution: Tensor = torch.linalg.solve(gram, gradient)
    return solution
