"""The ways to compute a BLAST layer, and what each of them stores, calculates and writes.

``kernel``: the operator library's fused kernel. ``body``: the function body in standard operators.
``dense``: the weight multiplied out, as one MatMul.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from blast_deploy.results import Form
from blast_deploy.structures.blast.matrix import cost

FORMS: tuple[Form, ...] = ("kernel", "body", "dense")


_PANEL = 8
"""The kernel's smallest panel: the columns of each factor's blocks are padded to a multiple of it."""
_ROW_GROUP = 16
"""Rows that ONNX Runtime's products compute together where rows are their second operand's columns."""


@dataclass(frozen=True)
class FormWork:
    """What one call of a form does.

    Attributes:
        weights: Stored values that are read once a call, bias and padding excluded.
        flops_per_row: Operations for one row (a multiply-add counts two).
        values_per_row: Values written for one row, intermediate ones and the output.
        rows_at_once: Rows that cost as much together as one of them alone.
        single_rows: Up to so many rows are computed one by one all the same.
        blocks: Blocks of the outer factors, each of which is a product of its own.
        padding: Zeros that are read, and for each row calculated with, beside the weights.
        values_per_call: Values that are written and read again once a call, however many rows there are.
        bytes_per_weight: What a weight takes; None where that is the layer's element type.
        products: Dense products that follow each other where the form is nothing but such: then the time
            model takes the constants of the dense form for each. 0 for any other form.
    """

    weights: int
    flops_per_row: int
    values_per_row: int
    rows_at_once: int = 1
    single_rows: int = 0
    blocks: int = 0
    padding: int = 0
    values_per_call: int = 0
    bytes_per_weight: float | None = None
    products: int = 0


def work(form: Form, out_features: int, in_features: int, blocks: tuple[int, int], rank: int) -> FormWork:
    """Count the work of a form.

    The kernel keeps z and w in cache and writes the output alone; its factors are padded. The body writes
    the padded input, z (b2 r), w (b1 r) and the output three times: U w, cropped, and transposed with the
    bias; the transposes around its products are free in runtimes that fuse them. Its weights stand left in
    its products and the rows right.
    """
    if form == "dense":
        weights = out_features * in_features
        return FormWork(weights, 2 * weights, out_features)
    structured = cost(out_features, in_features, blocks, rank)
    weights, flops_per_row = structured.parameters, structured.flops_per_row
    if form == "kernel":
        # Blocks that reach past the edge are read whole; their padding counts too.
        padding = max(0, _padded_parameters(out_features, in_features, blocks, rank) - weights)
        return FormWork(weights, flops_per_row, out_features, blocks=sum(blocks), padding=padding)
    written = in_features + rank * sum(blocks) + 3 * out_features
    return FormWork(weights, flops_per_row, written, _ROW_GROUP, blocks=sum(blocks))


def _padded_parameters(out_features: int, in_features: int, blocks: tuple[int, int], rank: int) -> int:
    b1, b2 = blocks
    height, width = math.ceil(out_features / b1), math.ceil(in_features / b2)
    padded_rank = _padded(rank)
    return b1 * rank * _padded(height) + b2 * padded_rank * width + b1 * b2 * padded_rank


def _padded(count: int) -> int:
    return math.ceil(count / _PANEL) * _PANEL
