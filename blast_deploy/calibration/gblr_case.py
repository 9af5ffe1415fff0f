"""GBLR layers, of which the packed kernel is timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from blast_deploy.calibration.copies import copies_of, layer_names, portable_model
from blast_deploy.passes.pack_gblr import PackGblr
from blast_deploy.planning.layer import LinearLayer, gblr_layer
from blast_deploy.results import CostName, Form
from blast_deploy.structures.gblr import operator
from blast_deploy.structures.gblr.forms import kernel_padding
from blast_deploy.structures.gblr.intervals import IntervalFactor
from blast_deploy.structures.gblr.matrix import GblrMatrix

_NARROWEST, _WIDEST = 0.1, 0.4
"""Of an axis; learned intervals are mostly such."""


@dataclass(frozen=True)
class GblrCase:
    """One layer that keeps a fraction of the dense weight's parameters, and a number of rows."""

    timed: ClassVar[Mapping[Form, CostName]] = {"kernel": "gblr_kernel"}

    out_features: int
    in_features: int
    keep: float
    rows: int

    @property
    def copies(self) -> int:
        """How many of the layer follow each other in a model."""
        return copies_of(self.out_features, self.in_features, self.rows)

    @property
    def layer(self) -> LinearLayer:
        """The layer as the planner sees it."""
        matrix = random_matrix(self.out_features, self.in_features, self.keep)
        return gblr_layer(
            "layer",
            dtype="float32",
            out_features=self.out_features,
            in_features=self.in_features,
            components=matrix.components,
            values=(matrix.u.values.size, matrix.v.values.size),
            padding=sum(kernel_padding(side.starts, side.widths, side.size) for side in (matrix.u, matrix.v)),
        )

    def build(self, form: Form, instruction_set: str) -> ir.Model:
        """Build copies of the layer for the packed kernel."""
        matrix = random_matrix(self.out_features, self.in_features, self.keep)
        tensors = {**matrix.tensors(), "bias": np.zeros(self.out_features, np.float32)}
        attributes = {"in_features": self.in_features, "out_features": self.out_features}
        model = portable_model(operator.function_proto(), tensors, attributes, self.copies)
        PackGblr(layer_names(self.copies), instruction_set)(model)
        return model


def random_matrix(out_features: int, in_features: int, keep: float) -> GblrMatrix:
    """Intervals anywhere, of widths uniform in 0.1 to 0.4 of their axis, of about as many values as asked."""
    random = np.random.default_rng(0)
    mean = (_NARROWEST + _WIDEST) / 2
    components = max(1, round(keep * out_features * in_features / (mean * (out_features + in_features))))

    def side(size: int) -> IntervalFactor:
        widths = np.maximum(1, (random.uniform(_NARROWEST, _WIDEST, components) * size).astype(np.int64))
        values = 0.1 * random.standard_normal(int(widths.sum()), np.float32)
        return IntervalFactor(values, random.integers(0, size, components), widths, size)

    return GblrMatrix(side(out_features), side(in_features))
