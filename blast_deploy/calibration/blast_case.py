"""BLAST layers that are timed in every form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from blast_deploy.calibration.copies import copies_of, layer_names, portable_model
from blast_deploy.passes.densify import Densify
from blast_deploy.passes.inline_functions import InlineFunctions
from blast_deploy.passes.pack_blast import PackBlast
from blast_deploy.planning.layer import LinearLayer, blast_layer
from blast_deploy.results import CostName, Form
from blast_deploy.structures.blast import operator
from blast_deploy.structures.blast.matrix import rank_for
from blast_deploy.structures.blast.schedule import ScheduleLimits


@dataclass(frozen=True)
class BlastCase:
    """One layer of as many block rows as block columns, and a number of rows."""

    timed: ClassVar[Mapping[Form, CostName]] = {"kernel": "kernel", "body": "body", "dense": "dense"}

    out_features: int
    in_features: int
    blocks: int
    rank: int
    rows: int
    limits: ScheduleLimits | None = None
    """When the kernel cuts the layer; its own limits by default."""

    @property
    def copies(self) -> int:
        """How many of the layer follow each other in a model."""
        return copies_of(self.out_features, self.in_features, self.rows)

    @property
    def layer(self) -> LinearLayer:
        """The layer as the planner sees it."""
        return blast_layer(
            "layer",
            dtype="float32",
            out_features=self.out_features,
            in_features=self.in_features,
            blocks=(self.blocks, self.blocks),
            rank=self.rank,
        )

    def build(self, form: Form, instruction_set: str) -> ir.Model:
        """Build copies of the layer in a form."""
        random = np.random.default_rng(0)
        b, r, m, n = self.blocks, self.rank, self.out_features, self.in_features
        shapes = {"U": (b, math.ceil(m / b), r), "S": (b, b, r), "V": (b, r, math.ceil(n / b)), "bias": (m,)}
        tensors = {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
        attributes = {"in_features": n, "out_features": m}
        model = portable_model(operator.function_proto(), tensors, attributes, self.copies)
        layers = layer_names(self.copies)
        lowered: dict[Form, ir.passes.InPlacePass] = {
            "kernel": PackBlast(layers, instruction_set, self.limits),
            "body": InlineFunctions(layers),
            "dense": Densify(layers),
        }
        lowered[form](model)
        return model


def make_case(out_features: int, in_features: int, blocks: int, keep: float, rows: int) -> BlastCase:
    """A layer of the largest rank that keeps a fraction of the dense weight's parameters."""
    rank = rank_for(out_features, in_features, (blocks, blocks), keep)
    return BlastCase(out_features, in_features, blocks, rank, rows)
