"""Weights with known structure, and errors in float64, for the tests of several methods."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blast_deploy.structures.blast.matrix import BlastMatrix

ODD_SIZES = [
    (24, 36, (4, 4), 6),
    (23, 35, (4, 3), 5),
    (7, 40, (2, 5), 1),
    (13, 11, (5, 2), 30),
    (1, 9, (1, 3), 2),
    (9, 1, (3, 1), 2),
    (1, 1, (1, 1), 1),
    (5, 5, (4, 4), 2),
]
"""m, n, blocks, rank: dividing and not, rank 1, rank above min(m, n), single rows and columns."""


def blast_weight(
    m: int, n: int, blocks: tuple[int, int], rank: int, noise: float = 0.0, seed: int = 0
) -> Tensor:
    """A weight that is exactly BLAST, plus noise of a given relative size; float32."""
    random = np.random.default_rng(seed)
    p, q = -(-m // blocks[0]), -(-n // blocks[1])
    matrix = BlastMatrix(
        random.normal(size=(blocks[0], p, rank)),
        random.normal(size=(*blocks, rank)),
        random.normal(size=(blocks[1], rank, q)),
        m,
        n,
    )
    dense = matrix.dense()
    disturbance = random.normal(size=dense.shape)
    dense = dense + noise * disturbance * np.linalg.norm(dense) / np.linalg.norm(disturbance)
    return torch.from_numpy(dense).float()


def covariance(n: int, seed: int = 0, rank: int | None = None) -> Tensor:
    """A covariance with a few strong directions, as activations have; float32, singular if rank < n."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(rank or 3 * n, n)) * np.geomspace(10, 0.1, n)
    return torch.from_numpy(rows.T @ rows / len(rows)).float()


def relative_error(weight: Tensor, matrix: BlastMatrix, metric: Tensor | None = None) -> float:
    """Error of a matrix relative to the weight, in float64, in the norm of a metric if given."""
    exact = weight.double().numpy()
    return _norm(exact - matrix.dense(), metric) / (_norm(exact, metric) or 1.0)


def truncated_svd_error(weight: Tensor, rank: int) -> float:
    """Relative Frobenius error of the best matrix of a rank (Eckart and Young)."""
    values = np.linalg.svd(weight.double().numpy(), compute_uv=False)
    return float(np.sqrt((values[rank:] ** 2).sum() / (values**2).sum()))


def _norm(array: NDArray[Any], metric: Tensor | None) -> float:
    if metric is None:
        return float(np.linalg.norm(array))
    return float(np.sqrt(np.einsum("mi,ij,mj->", array, metric.double().numpy(), array)))
