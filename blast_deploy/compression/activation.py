"""The activation-aware method: least squares in the norm of the layer's own inputs.

Minimises ``||(W - A) H^(1/2)||_F^2 = tr((W - A) H (W - A)^T)``, H the covariance of the layer's inputs over
calibration data, damped: the mean squared error of the layer's outputs. H couples the block columns, so V is
minimised one block column after another, and S one block after another.
"""

from __future__ import annotations

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
from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.matrix import BlastMatrix

SWEEPS = 40
DAMPING = 0.01
"""Share of the covariance's mean diagonal added to its diagonal: what calibration hardly saw still counts."""


@torch.no_grad()
def factorise(
    weight: Tensor,
    blocks: tuple[int, int],
    rank: int,
    covariance: Tensor,
    *,
    seed: int = 0,
    sweeps: int = SWEEPS,
    damping: float = DAMPING,
    on_sweep: Callable[[], None] | None = None,
) -> BlastMatrix:
    """Factorise a weight from its best low-rank approximation in the norm of the inputs, never ending worse.

    Args:
        weight: Float (m, n).
        blocks: b1 and b2.
        rank: r.
        covariance: ``E[x x^T]`` of the layer's inputs, float (n, n), symmetric positive semidefinite; if it
            is zero, the identity is taken.
        seed: Of the start's random part.
        sweeps: How often U, V and S are minimised at most.
        damping: Relative to the covariance's mean diagonal.
        on_sweep: Called at every sweep; what it raises ends the work.

    Raises:
        InvalidInputError: If the weight, blocks or rank cannot be factorised, the damping is not positive, or
            the covariance has another size or holds NaN or infinity.
    """
    check_weight(weight, blocks, rank)
    target = padded(weight, blocks)
    norm = float(torch.linalg.vector_norm(target, dtype=torch.float64)) or 1.0
    target = target / norm
    metric = damped(covariance, weight.shape[1], target.shape[2], damping)
    low_rank, start = _start(target, metric, blocks, rank, seed)
    metric = metric.to(target.dtype)
    problem = _Problem(target, metric, start)
    images = torch.bmm(start.v, torch.unflatten(metric, 0, (blocks[1], -1)))
    descent = Descent(problem.sweep, (start.u, start.s, start.v, images))
    u, s, v, _ = descent.run(sweeps - 1, on_sweep).best
    return to_matrix(better(Factors(u, s, v), low_rank, target, metric).scaled(norm), weight)


def damped(covariance: Tensor, in_features: int, width: int, damping: float) -> Tensor:
    """Damp a covariance, scale it to a mean diagonal of 1 + damping, and extend it over padded columns.

    Padding gets a diagonal of its own, unconnected to the rest: V's minimiser there is zero.

    Args:
        covariance: Float (n, n).
        in_features: n.
        width: b2 q, at least n.
        damping: Relative to the mean diagonal.

    Returns:
        Float64 (width, width), positive definite.

    Raises:
        InvalidInputError: If the covariance has another size or holds NaN or infinity, or the damping is not
            positive.
    """
    if damping <= 0:
        raise InvalidInputError(f"the damping must be positive, or H may be singular (got {damping})")
    if tuple(covariance.shape) != (in_features, in_features):
        raise InvalidInputError(
            f"the covariance must be {in_features} x {in_features} (got {tuple(covariance.shape)})"
        )
    mean = float(covariance.diagonal().mean(dtype=torch.float64))
    if not bool(torch.isfinite(covariance).all()):
        raise InvalidInputError(
            "the calibration inputs of a layer hold NaN or infinity; mend the data or the model"
        )
    metric = torch.eye(width, dtype=torch.float64)
    if mean > 0:
        metric *= damping
        metric[:in_features, :in_features] += covariance / mean
    return metric


def _start(
    target: Tensor, metric: Tensor, blocks: tuple[int, int], rank: int, seed: int
) -> tuple[Factors, Factors]:
    """Cut the singular value decomposition of ``W L``, where ``L L^T = H``, and undo L on the right."""
    root = torch.linalg.cholesky(metric).to(target.dtype)
    left, values, right = torch.linalg.svd(target.flatten(0, 1) @ root, full_matrices=False)
    scale = values.sqrt()
    right = torch.linalg.solve_triangular(root, scale[:, None] * right, upper=False, left=False)
    return low_rank_start(left * scale, right, blocks, rank, seed)


class _Problem:
    """One weight and metric, the sweeps over the factors, and the memory that they work in.

    A state holds U, S, V and the images ``V_j H_j`` (b2, r, n), H_j being the rows of H for block column j.
    The images are linear in V, so they are extrapolated along with it instead of being computed again.
    """

    def __init__(self, target: Tensor, metric: Tensor, start: Factors) -> None:
        """Take W as block rows, float (b1, p, b2 q), and H, float (b2 q, b2 q)."""
        b1, p, width = target.shape
        b2, rank, q = start.v.shape
        image = target @ metric
        self._metric = torch.unflatten(metric, 0, (b2, q))
        diagonal_blocks = [self._metric[j, :, j * q : (j + 1) * q] for j in range(b2)]
        self._inverses = [torch.cholesky_inverse(torch.linalg.cholesky(block)) for block in diagonal_blocks]
        self._rows = image
        self._columns = torch.unflatten(image.flatten(0, 1), 1, (b2, q)).permute(1, 2, 0).contiguous()
        self._square = float((image * target).sum(dtype=torch.float64))
        self._row_products = target.new_empty(b2, rank, b1 * p)
        self._column_products = target.new_empty(b1, rank, width)
        self._coupled = target.new_empty(b1, rank, width)
        self._coupled_images = target.new_empty(b1, rank, width)
        self._change = target.new_empty(rank, width)
        self._residual = target.new_empty(b1, rank, q)
        self._right_u = target.new_empty(b1, rank, p)
        self._right_v = target.new_empty(b2, rank, q)
        self._gram_v = target.new_empty(2, 1, rank, rank)
        self._grams_s = target.new_empty(2, b2, b2, rank, rank)

    def sweep(self, state: State) -> float:
        """Minimise over U, V and S in turn and give ``tr((W - A) H (W - A)^T)``."""
        u, s, v, images = state
        self._minimise_u(u, s, v, images)
        gram_u = u.mT @ u
        torch.bmm(u.mT, self._rows, out=self._column_products)
        self._minimise_v(gram_u, s, v, images)
        return self._minimise_s(gram_u, s, v, images)

    def _minimise_u(self, u: Tensor, s: Tensor, v: Tensor, images: Tensor) -> None:
        """``U_i^T = (X_i H X_i^T)^-1 X_i H W_i^T`` with ``X_i = [diag(S_ij) V_j]_j``; keeps ``X_i H``."""
        torch.bmm(v, self._columns, out=self._row_products)
        products = torch.unflatten(self._row_products, 2, (s.shape[0], -1)).transpose(1, 2)
        coupled = torch.unflatten(self._coupled, 2, (v.shape[0], -1))
        torch.mul(v.transpose(0, 1), s.mT.unsqueeze(3), out=coupled)
        coupled_sum(images.unsqueeze(1), s, out=self._coupled_images)
        gram = self._coupled_images @ self._coupled.mT
        right = coupled_sum(products, s, out=self._right_u)
        torch.bmm(right.mT, inverse((gram + gram.mT) / 2), out=u)

    def _minimise_v(self, gram_u: Tensor, s: Tensor, v: Tensor, images: Tensor) -> None:
        """Minimise over V_j, one j after another, each from the residual E = W - A that the former left.

        V_j grows by ``(sum_i S_ij S_ij^T * U_i^T U_i)^-1 (sum_i diag(S_ij) U_i^T E_i H_j^T) H_jj^-1``.
        """
        q = v.shape[2]
        for j in range(len(v)):
            columns, later = slice(j * q, (j + 1) * q), slice((j + 1) * q, None)
            couplings = s[:, j].unsqueeze(0)
            torch.baddbmm(
                self._column_products[:, :, columns],
                gram_u,
                self._coupled_images[:, :, columns],
                alpha=-1,
                out=self._residual,
            )
            right = coupled_sum(self._residual.unsqueeze(1), couplings, out=self._right_v[:1])
            gram = coupled_gram(gram_u, couplings, *self._gram_v)
            change = inverse(gram)[0] @ right[0] @ self._inverses[j]
            image = torch.mm(change, self._metric[j], out=self._change)
            v[j] += change
            images[j] += image
            # Later block columns alone look at these again before they are made anew.
            self._coupled_images[:, :, later].addcmul_(image[:, later], s[:, j].unsqueeze(2))

    def _minimise_s(self, gram_u: Tensor, s: Tensor, v: Tensor, images: Tensor) -> float:
        """Minimise over S_ij, one j after another, and give the objective.

        With ``G_jl = U_i^T U_i * V_j H_jl V_l^T`` and ``R_j = diag(U_i^T (W H)_ij V_j^T)`` it is
        ``sum_jl S_ij^T G_jl S_il - 2 sum_j S_ij^T R_j`` plus ``tr(W_i H W_i^T)``, summed over i.
        """
        b2, rank, q = v.shape
        grams_v, grams_s = self._grams_s
        image_columns = images.reshape(b2 * rank, b2, q).transpose(0, 1)
        torch.bmm(image_columns, v.mT, out=grams_v.view(b2, b2 * rank, rank))
        products = torch.unflatten(self._column_products, 2, (b2, q)).transpose(1, 2)
        error = self._square
        for i, product in enumerate(products):
            right = torch.mul(product, v, out=self._right_v).sum(2)
            error += _descend_blocks(torch.mul(grams_v, gram_u[i], out=grams_s), right, s[i])
        return error


def _descend_blocks(gram: Tensor, right: Tensor, x: Tensor) -> float:
    """Minimise ``x^T G x - 2 x^T R`` over each x_j in turn, once, and give the objective.

    Args:
        gram: Block G_jl at [l, j], float (b2, b2, r, r); G is symmetric positive semidefinite.
        right: R, float (b2, r).
        x: Float (b2, r); overwritten.
    """
    residual = right - (gram @ x[:, None, :, None]).sum(0).squeeze(-1)
    for j in range(len(x)):
        change = solve(gram[j, j].clone(), residual[j])
        x[j] += change
        residual -= gram[j] @ change
    return -float((x * (right + residual)).sum(dtype=torch.float64))
