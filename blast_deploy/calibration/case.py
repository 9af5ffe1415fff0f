"""The layers that are timed, and models made of copies of one."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from blast_deploy.passes.densify import Densify
from blast_deploy.passes.inline_functions import InlineFunctions
from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.passes.pack_blast import PackBlast
from blast_deploy.planning.layer import LinearLayer, blast_layer
from blast_deploy.results import Form
from blast_deploy.structures import contract
from blast_deploy.structures.blast import operator
from blast_deploy.structures.blast.matrix import rank_for
from blast_deploy.structures.blast.schedule import ScheduleLimits

_COPIES_BYTES = 8 << 20
"""Dense weights that follow each other: more than a core's own caches, less than the last one."""
_OUTPUT_BYTES = 64 << 20
_MOST_COPIES = 32


@dataclass(frozen=True)
class Case:
    """One layer and a number of rows."""

    out_features: int
    in_features: int
    blocks: int
    rank: int
    rows: int

    @property
    def copies(self) -> int:
        """How many of the layer follow each other; fewer where models would be slow to build or run."""
        by_weights = math.ceil(_COPIES_BYTES / (4 * self.out_features * self.in_features))
        by_outputs = _OUTPUT_BYTES // (4 * self.out_features * self.rows)
        return max(1, min(by_weights, by_outputs, _MOST_COPIES))

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


def make_case(out_features: int, in_features: int, blocks: int, keep: float, rows: int) -> Case:
    """A layer of the largest rank that keeps a fraction of the dense weight's parameters."""
    rank = rank_for(out_features, in_features, (blocks, blocks), keep)
    return Case(out_features, in_features, blocks, rank, rows)


_SIZES = (
    (96, 96, 16, 0.5),
    (128, 128, 2, 0.5),
    (256, 256, 8, 0.3),
    (384, 384, 4, 0.5),
    (1536, 384, 4, 0.5),
    (384, 1536, 4, 0.3),
    (768, 768, 4, 0.5),
    (3072, 768, 8, 0.3),
)
_ROWS = (1, 2, 4, 8, 16, 64, 256)
CASES = tuple(make_case(*size, rows) for size, rows in itertools.product(_SIZES, _ROWS))
"""What the constants are fitted to: tiny layers to large ones, one row to many."""


def build_model(case: Case, form: Form, instruction_set: str, limits: ScheduleLimits | None = None) -> bytes:
    """Build copies of a layer that all read X, in the form that compile would give them."""
    random = np.random.default_rng(0)
    b, r, m, n = case.blocks, case.rank, case.out_features, case.in_features
    shapes = {"U": (b, math.ceil(m / b), r), "S": (b, b, r), "V": (b, r, math.ceil(n / b)), "bias": (m,)}
    nodes, initializers, outputs = [], [], []
    for index in range(case.copies):
        names = [f"layer{index}.{name}" for name in shapes]
        initializers += [
            numpy_helper.from_array(random.standard_normal(shape, np.float32), name)
            for name, shape in zip(names, shapes.values(), strict=True)
        ]
        node = helper.make_node("BlastLinear", ["X", *names], [f"Y{index}"], domain=contract.DOMAIN)
        node.attribute.append(helper.make_attribute("in_features", n))
        node.attribute.append(helper.make_attribute("out_features", m))
        nodes.append(node)
        outputs.append(helper.make_tensor_value_info(f"Y{index}", onnx.TensorProto.FLOAT, ["rows", m]))
    entering = helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, ["rows", n])
    proto = helper.make_model(
        helper.make_graph(nodes, "copies", [entering], outputs, initializers),
        functions=[operator.function_proto()],
        opset_imports=[
            helper.make_opsetid("", contract.OPSET),
            helper.make_opsetid(contract.DOMAIN, contract.DOMAIN_VERSION),
        ],
        ir_version=contract.IR_VERSION,
    )
    model = ir.from_proto(proto)
    NameLayers()(model)
    layers = [f"layer{index}" for index in range(case.copies)]
    passes = {
        "kernel": PackBlast(layers, instruction_set, limits),
        "body": InlineFunctions(layers),
        "dense": Densify(layers),
    }
    passes[form](model)
    return cast(bytes, ir.to_proto(model).SerializeToString())
