"""The ways to compute a quantised BLAST layer, and what each of them stores, calculates and writes.

``body``: the function body, which dequantises the factors in every call. ``dequantised``: the factors
dequantised once, when the model is compiled, for the float kernel; only where activations stay floats.
``dense``: the same, multiplied out. ``kernel``: the operator library's integer kernel.
"""

from __future__ import annotations

import math
from dataclasses import replace

from blast_deploy.errors import InvalidInputError
from blast_deploy.results import Form
from blast_deploy.structures.blast import forms as float_forms
from blast_deploy.structures.blast.forms import FormWork
from blast_deploy.structures.quantized_blast.matrix import Activation
from blast_deploy.structures.quantized_blast.packing import format_for

_SCALE_BYTES = {8: 4, 4: 2}
"""What the kernels keep of each scale, by bits."""


def works(
    out_features: int,
    in_features: int,
    blocks: tuple[int, int],
    rank: int,
    bits: int,
    block_sizes: tuple[int, int],
    activation: Activation,
    scales_fit: bool,
) -> dict[Form, FormWork]:
    """Count the work of every form that computes what the layer means.

    The body reads integers and writes their floats, which it then reads as the float body reads its factors.
    The kernel keeps scales only if they fit it; see ``packing.py``.
    """
    sizes = out_features, in_features, blocks, rank
    body = float_forms.work("body", *sizes)
    stored = bytes_per_weight(bits, block_sizes)
    found: dict[Form, FormWork] = {"body": replace(body, values_per_call=body.weights)}
    if activation == "float":
        found["dequantised"] = float_forms.work("kernel", *sizes)
        found["dense"] = float_forms.work("dense", *sizes)
    elif scales_fit and _has_kernel(bits, block_sizes, (rank, math.ceil(in_features / blocks[1]))):
        found["kernel"] = replace(float_forms.work("kernel", *sizes), bytes_per_weight=stored)
    return found


def bytes_per_weight(bits: int, block_sizes: tuple[int, int]) -> float:
    """What a value of U or V takes with its share of its block's scale."""
    return bits / 8 + _SCALE_BYTES[bits] / min(block_sizes)


def _has_kernel(bits: int, block_sizes: tuple[int, int], row_lengths: tuple[int, int]) -> bool:
    try:
        format_for(bits, block_sizes, row_lengths)
    except InvalidInputError:
        return False
    return True
