"""A linear layer as the planner sees it, whatever its structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blast_deploy.element_types import numpy_dtype
from blast_deploy.results import Form
from blast_deploy.structures.blast import forms
from blast_deploy.structures.blast.forms import FormWork
from blast_deploy.structures.blast.matrix import cost
from blast_deploy.structures.contract import BLAST_LINEAR, GBLR_LINEAR, Q_BLAST_LINEAR
from blast_deploy.structures.gblr import forms as gblr_forms
from blast_deploy.structures.quantized_blast import forms as quantized_forms
from blast_deploy.structures.quantized_blast.matrix import Activation

RowRange = tuple[int, int]
"""Fewest and most rows (the product of the leading axes of a layer's input)."""


@dataclass(frozen=True)
class LinearLayer:
    """What says whether and how fast a form can compute a layer.

    Attributes:
        name: Qualified name in the model.
        operator: Its operator in domain ``ai.blast``.
        dtype: Element type in NumPy's spelling.
        out_features: Width of its output.
        in_features: Width of its input.
        description: The structure's own sizes, in words.
        work: What each form does for it; a form that does not compute what the layer means is missing.
        weights: Stored weights, bias, scales and padding excluded.
        weight_bytes: What those take, scales included.
    """

    name: str
    operator: str
    dtype: str
    out_features: int
    in_features: int
    description: str
    work: Mapping[Form, FormWork]
    weights: int
    weight_bytes: int


def blast_layer(
    name: str, *, dtype: str, out_features: int, in_features: int, blocks: tuple[int, int], rank: int
) -> LinearLayer:
    """Describe a BLAST layer to the planner."""
    return LinearLayer(
        name=name,
        operator=BLAST_LINEAR.name,
        dtype=dtype,
        out_features=out_features,
        in_features=in_features,
        description=f"{blocks[0]} x {blocks[1]} blocks of rank {rank}",
        work={form: forms.work(form, out_features, in_features, blocks, rank) for form in forms.FORMS},
        weights=cost(out_features, in_features, blocks, rank).parameters,
        weight_bytes=cost(out_features, in_features, blocks, rank).parameters * numpy_dtype(dtype).itemsize,
    )


def quantized_blast_layer(
    name: str,
    *,
    dtype: str,
    out_features: int,
    in_features: int,
    blocks: tuple[int, int],
    rank: int,
    bits: int,
    block_sizes: tuple[int, int],
    activation: Activation,
    factor_bytes: int,
    scales_fit: bool,
) -> LinearLayer:
    """Describe a quantised BLAST layer to the planner."""
    described = "quantised activations" if activation == "int8" else "float activations"
    sizes = out_features, in_features, blocks, rank
    return LinearLayer(
        name=name,
        operator=Q_BLAST_LINEAR.name,
        dtype=dtype,
        out_features=out_features,
        in_features=in_features,
        description=f"{blocks[0]} x {blocks[1]} blocks of rank {rank}, {bits} bits, {described}",
        work=quantized_forms.works(*sizes, bits, block_sizes, activation, scales_fit),
        weights=cost(*sizes).parameters,
        weight_bytes=factor_bytes,
    )


def gblr_layer(
    name: str, *, dtype: str, out_features: int, in_features: int, components: int, values: tuple[int, int]
) -> LinearLayer:
    """Describe a GBLR layer of so many left and right values to the planner."""
    sizes = out_features, in_features, components
    parameters = sum(values)
    return LinearLayer(
        name=name,
        operator=GBLR_LINEAR.name,
        dtype=dtype,
        out_features=out_features,
        in_features=in_features,
        description=gblr_forms.describe(*sizes, values),
        work={form: gblr_forms.work(form, *sizes, values) for form in forms.FORMS},
        weights=parameters,
        weight_bytes=parameters * numpy_dtype(dtype).itemsize + gblr_forms.index_bytes(components),
    )
