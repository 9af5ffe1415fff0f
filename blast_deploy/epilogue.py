"""What a layer's node does beside the layer, in float64: the independent truth for the kernels' epilogues."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.results import Activation, Epilogue


def apply_epilogue(
    epilogue: Epilogue, y: NDArray[np.float64], residual: NDArray[Any] | None
) -> NDArray[np.float64]:
    """Compute activation(y) + residual.

    Args:
        epilogue: What to do.
        y: The layer's output (rows, out_features).
        residual: What is added, of the same shape; needed where the epilogue adds one.
    """
    activated = _activate(epilogue.activation, y)
    return activated if residual is None else activated + residual.astype(np.float64)


def _activate(activation: Activation, y: NDArray[np.float64]) -> NDArray[np.float64]:
    """GELU as x Phi(x) and its tanh form (arXiv 1606.08415, section 2); SiLU as x sigmoid(x)."""
    if activation == "none":
        return y
    if activation == "gelu":
        return y * _normal_distribution(y)
    if activation == "silu":
        return y * _sigmoid(y)
    return y * _sigmoid(2 * math.sqrt(2 / math.pi) * (y + 0.044715 * y**3))


def _normal_distribution(y: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.fromiter((math.erfc(-x / math.sqrt(2)) / 2 for x in y.flat), np.float64, y.size)
    return values.reshape(y.shape)


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-z))
