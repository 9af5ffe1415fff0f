"""What a quantised layer may differ from its integer-exact truth by because an inner value lay on a half.

X is quantised alike everywhere: the contract says which operations decide, each of them rounded once. The
inner vector w is a sum in floats before it is quantised. Where it comes to lie within its own rounding error
of the middle between two integers, a right implementation may take the other one. One such flip changes w by
a step of its group, a / 127, and so the outputs of its block row by that step times a column of U.

How far from the middle a flip can happen is measured, not guessed: w is computed in float32 as well, and four
times the worst distance from its float64 self is allowed, as for every other error of rounding
(``tolerance.py``). Few values lie so close: on MiniLM the steps of all of them together are one to two
thousandths of the outputs, a tenth of what a kernel that is wrong by 2% changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.element_types import epsilon
from blast_deploy.factors import LayerFactors, quantized_matrix
from blast_deploy.structures.contract import QUANTISATION_GROUP, QUANTISATION_LEVELS
from blast_deploy.structures.quantized_blast.groups import quantize_groups
from blast_deploy.structures.quantized_blast.matrix import QuantizedBlastMatrix
from blast_deploy.tolerance import BODY_FACTOR, EPSILON_FACTOR

Float64 = NDArray[np.float64]


def flip_allowance(layer: LayerFactors, rows: NDArray[Any]) -> Float64:
    """How much each output may move because inner values flip.

    Args:
        layer: A ``QBlastLinear`` layer whose activations are quantised.
        rows: What entered it, (rows, in_features).

    Returns:
        Float64 (rows, out_features), not negative.
    """
    matrix = quantized_matrix(layer)
    exact = matrix.coupled(rows)
    steps = _spread(quantize_groups(exact.astype(np.float32)).scales, exact.shape[-1])
    used = np.where(steps > 0, steps, 1.0)
    places = exact / used
    distance = np.abs(places - np.floor(places) - 0.5)
    # By its own error and, as much again, by that of its group's greatest value.
    allowed = 2 * _reach(matrix, rows, exact, used)
    moved = np.where((distance <= allowed) & (steps > 0), steps, 0.0)
    sizes = np.abs(matrix.dequantize().u)
    outputs: Float64 = np.einsum("inr,ipr->nip", moved, sizes, optimize=True)
    return outputs.reshape(len(rows), -1)[:, : matrix.out_features]


def _reach(matrix: QuantizedBlastMatrix, rows: NDArray[Any], exact: Float64, steps: Float64) -> float:
    """How many steps a value of w may be off in float32, its group's greatest value taken as exact."""
    worst = float((np.abs(_in_float32(matrix, rows) - exact) / steps).max(initial=0.0))
    return max(BODY_FACTOR * worst, EPSILON_FACTOR * epsilon("float32") * QUANTISATION_LEVELS)


def _in_float32(matrix: QuantizedBlastMatrix, rows: NDArray[Any]) -> NDArray[np.float32]:
    """The inner vector as float arithmetic gives it: (b1, rows, r)."""
    b2, _, q = matrix.vq.shape
    padded = np.zeros((len(rows), b2 * q), np.float32)
    padded[:, : matrix.in_features] = rows
    entering = quantize_groups(padded.reshape(len(rows), b2, q)).dequantized().astype(np.float32)
    right = matrix.dequantize().v.astype(np.float32)
    z = np.matmul(entering.transpose(1, 0, 2), right.transpose(0, 2, 1))
    w: NDArray[np.float32] = np.einsum("ijr,jnr->inr", matrix.s.astype(np.float32), z)
    return w


def _spread(scales: Float64, width: int) -> Float64:
    repeated: Float64 = np.repeat(scales, QUANTISATION_GROUP, axis=-1)[..., :width]
    return repeated
