"""The ways to compute a BLAST layer, and what each of them stores, calculates and writes.

``kernel``: the operator library's fused kernel. ``body``: the function body in standard operators.
``dense``: the weight multiplied out, as one MatMul.
"""

from __future__ import annotations

from dataclasses import dataclass

from blast_deploy.results import Form
from blast_deploy.structures.blast.matrix import cost

FORMS: tuple[Form, ...] = ("kernel", "body", "dense")


@dataclass(frozen=True)
class FormWork:
    """What one call of a form does.

    Attributes:
        weights: Stored values that are read once a call, bias and padding excluded.
        flops_per_row: Operations for one row (a multiply-add counts two).
        values_per_row: Values written for one row, intermediate ones and the output.
    """

    weights: int
    flops_per_row: int
    values_per_row: int


def work(form: Form, out_features: int, in_features: int, blocks: tuple[int, int], rank: int) -> FormWork:
    """Count the work of a form.

    The kernel keeps z and w in cache and writes the output alone. The body writes the padded input, z
    (b2 r), w (b1 r) and the output three times: U w, cropped, and transposed with the bias; the transposes
    around its products are free in runtimes that fuse them.
    """
    if form == "dense":
        weights = out_features * in_features
        return FormWork(weights, 2 * weights, out_features)
    structured = cost(out_features, in_features, blocks, rank)
    written = out_features if form == "kernel" else in_features + rank * sum(blocks) + 3 * out_features
    return FormWork(structured.parameters, structured.flops_per_row, written)
