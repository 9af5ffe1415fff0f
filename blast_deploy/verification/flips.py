"""What a quantised layer may differ from its integer-exact truth by because an inner value lay on a half.

X is quantised alike everywhere: the contract says which operations decide, each of them rounded once. The
inner vector w is a sum in floats before it is quantised. Where it comes to lie within its own rounding error
of the middle between two integers, a right implementation may take the other one. One such flip changes w by
a step of its group, a / 127, and so the outputs of its block row by that step times a column of U.

How far from the middle a flip can happen is measured, not guessed: w is computed in float32 as well, and four
times its worst error, relative to the magnitudes that are summed, is allowed, as for any error of rounding
(``tolerance.py``). Few values lie so close: on MiniLM the steps of all of them together are two to four
thousandths of the outputs, at most a fifth of what a kernel that is wrong by 2% changes.
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
    steps = _of_groups(quantize_groups(exact.astype(np.float32)).scales, exact.shape[-1])
    used = np.where(steps > 0, steps, 1.0)
    places = exact / used
    distance = np.abs(places - np.floor(places) - 0.5)
    own, greatest = _errors(matrix, rows, exact)
    # The error of a group's greatest value changes the step, by which large values are divided most.
    off = (own + greatest * np.minimum(np.abs(places) / QUANTISATION_LEVELS, 1.0)) / used
    moved = np.where((distance <= off) & (steps > 0), steps, 0.0)
    outputs: Float64 = np.einsum("inr,ipr->nip", moved, np.abs(matrix.dequantize().u), optimize=True)
    return outputs.reshape(len(rows), -1)[:, : matrix.out_features]


def _errors(matrix: QuantizedBlastMatrix, rows: NDArray[Any], exact: Float64) -> tuple[Float64, Float64]:
    """How far off each value of w may be, and the greatest value of its group.

    Errors of sums go with the magnitudes of what is summed, so that is what the measured one is relative to.
    """
    entering, floats = _entering(matrix, rows), matrix.dequantize()
    single = [array.astype(np.float32) for array in (floats.s, entering, floats.v)]
    computed = _coupled(*single)
    sizes = _coupled(*(np.abs(array) for array in (floats.s, entering, floats.v)))
    relative = np.abs(computed - exact) / np.where(sizes > 0, sizes, 1.0)
    worst = max(BODY_FACTOR * float(relative.max(initial=0.0)), EPSILON_FACTOR * epsilon("float32"))
    width = sizes.shape[-1]
    edges = np.arange(0, width, QUANTISATION_GROUP)
    return worst * sizes, worst * _of_groups(np.maximum.reduceat(sizes, edges, axis=-1), width)


def _entering(matrix: QuantizedBlastMatrix, rows: NDArray[Any]) -> Float64:
    """X as it is after quantisation: (b2, rows, q)."""
    b2, _, q = matrix.vq.shape
    padded = np.zeros((len(rows), b2 * q), np.float32)
    padded[:, : matrix.in_features] = rows
    return quantize_groups(padded.reshape(len(rows), b2, q)).dequantized().transpose(1, 0, 2)


def _coupled(s: NDArray[Any], x: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    """The inner vector in the precision of the arguments: (b1, rows, r)."""
    coupled: NDArray[Any] = np.einsum("ijr,jnr->inr", s, np.matmul(x, v.transpose(0, 2, 1)))
    return coupled


def _of_groups(values: Float64, width: int) -> Float64:
    """Repeat what each group has for every value of the group."""
    repeated: Float64 = np.repeat(values, QUANTISATION_GROUP, axis=-1)[..., :width]
    return repeated
