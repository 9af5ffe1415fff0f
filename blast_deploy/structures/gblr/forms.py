"""The ways to compute a GBLR layer, and what each of them stores, calculates and writes.

``kernel``: a kernel that reads the values alone. ``body``: the function body, which written out is two dense
products over the components, as of a low-rank layer: good where intervals cover most of their axes.
``dense``: the weight multiplied out, as one MatMul.
"""

from __future__ import annotations

import numpy as np

from blast_deploy.results import Form
from blast_deploy.structures.blast.forms import FormWork
from blast_deploy.structures.gblr.matrix import cost


def work(
    form: Form, out_features: int, in_features: int, components: int, values: tuple[int, int]
) -> FormWork:
    """Count the work of a form.

    Args:
        form: One of kernel, body and dense.
        out_features: Rows m.
        in_features: Columns n.
        components: K.
        values: How many left and right values there are.
    """
    if form == "dense":
        weights = out_features * in_features
        return FormWork(weights, 2 * weights, out_features)
    if form == "kernel":
        structured = cost(*values)
        return FormWork(structured.parameters, structured.flops_per_row, out_features)
    # The body of no components has one of zeros, as a product over none is undefined in some runtimes.
    weights = max(components, 1) * (out_features + in_features)
    return FormWork(weights, 2 * weights, max(components, 1) + 2 * out_features, products=2)


def describe(out_features: int, in_features: int, components: int, values: tuple[int, int]) -> str:
    """Say in words how many components there are and how much of both axes they cover on average."""
    if not components:
        return "no components"
    covered = sum(values) / (components * (out_features + in_features))
    noun = "component" if components == 1 else "components"
    return f"{components} {noun} on {covered:.0%} of their axes"


def index_bytes(components: int) -> int:
    """Bytes of the starts and widths in a portable file."""
    return 4 * components * np.dtype(np.int64).itemsize
