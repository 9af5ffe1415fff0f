"""The ways to compute a GBLR layer, and what each of them stores, calculates and writes.

``kernel``: a kernel that reads the values alone. ``body``: the function body, which written out is two dense
products over the components, as of a low-rank layer: good where intervals cover most of their axes.
``dense``: the weight multiplied out, as one MatMul.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blast_deploy.results import Form
from blast_deploy.structures.blast.forms import FORMS, FormWork
from blast_deploy.structures.gblr.matrix import cost

LARGEST_COMPONENTS = 65535
"""What the kernel's indices tell apart."""

_TILE = 8
"""Entries of an axis of which the kernel computes all or none for a component."""
_SINGLE_ROWS, _ROW_GROUP = 3, 8
"""Up to 3 rows the kernel's vectors are of entries, and from 4 on of 8 rows or twice as many."""
_TURNING = 10
"""Operations that turning a value of X or Y from rows to columns, or back, takes as long as."""


def forms(components: int) -> tuple[Form, ...]:
    """The forms in which a layer of so many components can be computed."""
    return FORMS if components <= LARGEST_COMPONENTS else tuple(form for form in FORMS if form != "kernel")


def kernel_padding(starts: NDArray[np.int64], widths: NDArray[np.int64], size: int) -> int:
    """Zeros beside the values of one side of a matrix that the kernel computes with."""
    ends = starts + widths
    whole = -(-size // _TILE)
    before = -(-np.minimum(ends, size) // _TILE) - starts // _TILE
    wrapped = -(-np.maximum(ends - size, 0) // _TILE)
    return int(_TILE * np.minimum(before + wrapped, whole).sum() - widths.sum())


def work(
    form: Form,
    out_features: int,
    in_features: int,
    components: int,
    values: tuple[int, int],
    padding: int = 0,
) -> FormWork:
    """Count the work of a form.

    Args:
        form: One of kernel, body and dense.
        out_features: Rows m.
        in_features: Columns n.
        components: K.
        values: How many left and right values there are.
        padding: Zeros that the kernel computes with beside them; see :func:`kernel_padding`.
    """
    if form == "dense":
        weights = out_features * in_features
        return FormWork(weights, 2 * weights, out_features)
    if form == "kernel":
        structured = cost(*values)
        turning = _TURNING * (out_features + in_features)
        flops = structured.flops_per_row + turning
        return FormWork(
            structured.parameters, flops, out_features, _ROW_GROUP, single_rows=_SINGLE_ROWS, padding=padding
        )
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
