"""The best values on given intervals: least squares by conjugate gradients, from what is there already.

Exact solutions would take a factorisation of a matrix of its own for every row; a few steps from the values
of the sweep before come as near in a fraction of the time.
"""

from __future__ import annotations

import numpy as np

from blast_deploy.compression.interval_choice import Array, multiply


def refine(vectors: Array, gram: Array, target: Array, mask: Array, steps: int) -> None:
    """Lower ``a^T G a - 2 a^T c`` for every column a of the vectors by itself, inside the mask.

    Args:
        vectors: (K, size), zero outside the mask; changed.
        gram: G, (K, K), symmetric positive semidefinite.
        target: C, (K, size), whose columns are c.
        mask: (K, size), ones and zeros.
        steps: Of conjugate gradients, preconditioned by G's diagonal.
    """
    inverse = _inverse_diagonal(gram)
    residual = (target - multiply(gram, vectors)) * mask
    preconditioned = residual * inverse
    direction = preconditioned.copy()
    slope = _columns(residual, preconditioned)
    for _ in range(steps):
        image = multiply(gram, direction) * mask
        step = _ratio(slope, _columns(direction, image))
        vectors += step * direction
        residual -= step * image
        preconditioned = residual * inverse
        before, slope = slope, _columns(residual, preconditioned)
        direction *= _ratio(slope, before)
        direction += preconditioned


def refine_coupled(
    vectors: Array, gram: Array, target: Array, metric: Array, inverse: Array, mask: Array, steps: int
) -> None:
    """Lower ``tr(V^T G V H) - 2 tr(V^T T)`` inside the mask, where a metric couples all columns.

    Args:
        vectors: V, (K, size), zero outside the mask; changed.
        gram: G, (K, K).
        target: T, (K, size).
        metric: H, (size, size), symmetric positive definite.
        inverse: H^-1; with G's diagonal it preconditions.
        mask: (K, size), ones and zeros.
        steps: Of conjugate gradients.
    """
    scale = _inverse_diagonal(gram)
    residual = (target - multiply(multiply(gram, vectors), metric)) * mask
    preconditioned = multiply(residual, inverse) * scale * mask
    direction = preconditioned.copy()
    slope = _dot(residual, preconditioned)
    for _ in range(steps):
        image = multiply(multiply(gram, direction), metric) * mask
        curvature = _dot(direction, image)
        if curvature <= 0 or slope <= 0:
            return
        step = slope / curvature
        vectors += step * direction
        residual -= step * image
        preconditioned = multiply(residual, inverse) * scale * mask
        before, slope = slope, _dot(residual, preconditioned)
        direction *= slope / before
        direction += preconditioned


def _inverse_diagonal(gram: Array) -> Array:
    diagonal = gram.diagonal()[:, None]
    inverse: Array = np.divide(1, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
    return inverse


def _columns(left: Array, right: Array) -> Array:
    products: Array = np.einsum("ij,ij->j", left, right)
    return products


def _dot(left: Array, right: Array) -> float:
    return float(np.vdot(left, right))


def _ratio(numerator: Array, denominator: Array) -> Array:
    """0 where the denominator is not positive: a column that has converged stays as it is."""
    ratio: Array = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    return ratio
