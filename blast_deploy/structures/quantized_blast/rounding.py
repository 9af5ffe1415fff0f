"""Rounding weights to integers: the scales of their blocks, and errors that later weights make good."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

SHRINKS = tuple(np.linspace(1.0, 0.6, 9))
"""Parts of the full range that a block of 4 bits may be cut to: the few largest weights are clipped then, and
all others rounded more finely."""
DAMPING = 1e-3
"""Added to the diagonal of a metric, relative to its mean, so that it has an inverse."""
_BATCH = 64


def block_scales(values: Float64, bits: int, block_size: int) -> NDArray[np.float32]:
    """Choose what an integer is worth in each block of a row.

    8 bits: the greatest magnitude becomes 127. 4 bits: of the ways in which the greatest magnitude, or a part
    of it, becomes -8 or 8, the one with the least squared error; the scale may be negative, and is a bfloat16
    number, as which the kernels keep it.

    Args:
        values: (..., k).
        bits: 8 or 4.
        block_size: Values of a row that share a scale.

    Returns:
        Float32 (..., ceil(k / block_size)), never 0.
    """
    blocks = _blocked(values, block_size)
    found = np.abs(blocks).max(axis=-1)
    greatest: Float64 = np.where(found > 0, found, 1.0)
    if bits == 8:
        return _normal((greatest / 127).astype(np.float32))
    best = np.ones_like(greatest, np.float32)
    least = np.full(greatest.shape, np.inf)
    for sign in (-1, 1):
        for part in SHRINKS:
            scales = _normal((sign * part * greatest / 8).astype(ml_dtypes.bfloat16).astype(np.float32))
            wide = scales[..., None].astype(np.float64)
            error = np.square(_integers(blocks / wide, bits) * wide - blocks).sum(axis=-1)
            better = error < least
            best[better], least[better] = scales[better], error[better]
    return best


def feedback(metric: Float64) -> Float64:
    """What ``round_rows`` needs of a metric H: the upper factor R of ``(H + damping)^-1 = R^T R``.

    Args:
        metric: (k, k), symmetric positive semidefinite.
    """
    mean = float(np.trace(metric)) / len(metric)
    damped = metric + (DAMPING * mean if mean > 0 else 1.0) * np.eye(len(metric))
    inverse = np.linalg.inv(damped)
    return np.ascontiguousarray(np.linalg.cholesky((inverse + inverse.T) / 2).T, np.float64)


def round_rows(values: Float64, scales: Float64, bits: int, upper: Float64) -> NDArray[np.int8]:
    """Round rows so that the error is small in a metric: each weight's error is made good by the later ones.

    Minimises ``tr((W - Q) H (W - Q)^T)`` greedily, one column after another (GPTQ, arXiv 2210.17323,
    eq. 2-3): when a column is rounded, the columns after it move to where the error so far weighs least.

    Args:
        values: W, (rows, k).
        scales: What an integer is worth at each place, (rows, k).
        bits: 8 or 4.
        upper: ``feedback(H)``, (k, k).

    Returns:
        Q / scales, int8 (rows, k).
    """
    left = values.copy()
    width = values.shape[1]
    rounded = np.empty(values.shape, np.int8)
    for first in range(0, width, _BATCH):
        last = min(first + _BATCH, width)
        errors = np.empty((len(values), last - first))
        for column in range(first, last):
            integers = _integers(left[:, column] / scales[:, column], bits)
            rounded[:, column] = integers
            error = (left[:, column] - integers * scales[:, column]) / upper[column, column]
            left[:, column + 1 : last] -= np.outer(error, upper[column, column + 1 : last])
            errors[:, column - first] = error
        left[:, last:] -= errors @ upper[first:last, last:]
    return rounded


def _integers(values: Float64, bits: int) -> Float64:
    half = 2 ** (bits - 1)
    clipped: Float64 = np.clip(np.rint(values), -half, half - 1)
    return clipped


def _normal(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep scales so far from 0 that they have an inverse."""
    smallest = np.finfo(np.float32).tiny
    return np.where(np.abs(scales) < smallest, np.float32(smallest), scales)


def _blocked(values: Float64, block_size: int) -> Float64:
    width = values.shape[-1]
    size = min(block_size, width)
    count = math.ceil(width / size)
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, count * size - width)])
    return padded.reshape(*values.shape[:-1], count, size)
