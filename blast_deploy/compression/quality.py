"""How far a structured matrix is from the weight that it stands for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.gblr.matrix import GblrMatrix


def relative_error(matrix: BlastMatrix | GblrMatrix, weight: Tensor, covariance: Tensor | None) -> float:
    """Compute ``||E H^(1/2)||_F / ||W H^(1/2)||_F`` in float64; 0 for W = E = 0.

    Args:
        matrix: What is stored; it is rounded to the weight's element type first, as it will be.
        weight: W, float (m, n).
        covariance: H, float (n, n), or None for the identity.
    """
    exact = weight.detach().cpu().double()
    error = exact - torch.from_numpy(_rounded(matrix, weight.dtype).dense())
    metric = None if covariance is None else covariance.double()

    def square(values: Tensor) -> float:
        image = values if metric is None else values @ metric
        return float((image * values).sum())

    whole = square(exact)
    return math.sqrt(max(square(error), 0.0) / whole) if whole > 0 else 0.0


def _rounded(matrix: BlastMatrix | GblrMatrix, dtype: torch.dtype) -> BlastMatrix | GblrMatrix:
    def stored(values: NDArray[np.floating]) -> NDArray[np.float64]:
        rounded: NDArray[np.float64] = torch.from_numpy(values).to(dtype).double().numpy()
        return rounded

    if isinstance(matrix, BlastMatrix):
        return replace(matrix, u=stored(matrix.u), s=stored(matrix.s), v=stored(matrix.v))
    u, v = (replace(side, values=stored(side.values)) for side in (matrix.u, matrix.v))
    return GblrMatrix(u, v)
