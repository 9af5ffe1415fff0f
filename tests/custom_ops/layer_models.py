"""One-layer ONNX models of the operators, built node by node so that any part can be wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from blast_deploy.native import Library, library_path
from blast_deploy.structures import contract
from blast_deploy.structures.blast import packing
from blast_deploy.structures.blast.matrix import BlastMatrix

Array = NDArray[Any]
LAYER = "encoder.dense"
FLOAT = onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class Layer:
    """A random layer: 97 x 101 in 5 x 3 blocks of rank 13 unless told otherwise."""

    out_features: int = 97
    in_features: int = 101
    blocks: tuple[int, int] = (5, 3)
    rank: int = 13
    matrix: BlastMatrix = field(init=False)
    bias: Array = field(init=False)

    def __post_init__(self) -> None:
        random = np.random.default_rng(7)
        b1, b2 = self.blocks
        p, q = -(-self.out_features // b1), -(-self.in_features // b2)
        shapes = ((b1, p, self.rank), (b1, b2, self.rank), (b2, self.rank, q))
        u, s, v = (random.standard_normal(shape, np.float32) for shape in shapes)
        object.__setattr__(self, "matrix", BlastMatrix(u, s, v, self.out_features, self.in_features))
        object.__setattr__(self, "bias", random.standard_normal(self.out_features, np.float32))

    def rows(self, *shape: int) -> Array:
        """Random inputs of that shape but the last axis."""
        return np.random.default_rng(11).standard_normal((*shape, self.in_features), np.float32)


def plain_model(
    layer: Layer,
    *,
    constant: bool = True,
    dtype: int = FLOAT,
    x_shape: Sequence[str | int] | None = None,
    attributes: Mapping[str, int] | None = None,
    replaced: Mapping[str, Array] | None = None,
) -> onnx.ModelProto:
    """A BlastLinear node; ``replaced`` are tensors and ``attributes`` numbers that take others' place."""
    tensors = {
        "U": layer.matrix.u,
        "S": layer.matrix.s,
        "V": layer.matrix.v,
        "bias": layer.bias,
        **(replaced or {}),
    }
    given: dict[str, Any] = {
        "in_features": layer.in_features,
        "out_features": layer.out_features,
        **(attributes or {}),
    }
    node = helper.make_node(
        contract.BLAST_LINEAR.name, ["X", *tensors], ["Y"], name=LAYER, domain=contract.DOMAIN, **given
    )
    return _model(node, layer, tensors, constant, dtype, x_shape)


def packed_model(
    layer: Layer,
    *,
    constant: bool = True,
    dtype: int = FLOAT,
    x_shape: Sequence[str | int] | None = None,
    attributes: Mapping[str, int | str] | None = None,
    replaced: Mapping[str, Array] | None = None,
) -> onnx.ModelProto:
    """A BlastLinearPacked node for the best instruction set of this machine."""
    name = helper.tensor_dtype_to_np_dtype(dtype).name
    tensors = {"factors": packing.pack(layer.matrix, name), "bias": layer.bias, **(replaced or {})}
    given: dict[str, Any] = {
        "in_features": layer.in_features,
        "out_features": layer.out_features,
        "blocks_out": layer.blocks[0],
        "blocks_in": layer.blocks[1],
        "rank": layer.rank,
        "layout_version": packing.LAYOUT_VERSION,
        "instruction_set": Library().instruction_sets()[0],
        **(attributes or {}),
    }
    node = helper.make_node(
        contract.BLAST_LINEAR_PACKED.name, ["X", *tensors], ["Y"], name=LAYER, domain=contract.DOMAIN, **given
    )
    return _model(node, layer, tensors, constant, dtype, x_shape)


def open_model(model: onnx.ModelProto, threads: int = 1) -> ort.InferenceSession:
    """A session with the operator library, logging nothing but fatal errors."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(str(library_path()))
    return ort.InferenceSession(model.SerializeToString(), options)


def _model(
    node: onnx.NodeProto,
    layer: Layer,
    tensors: Mapping[str, Array],
    constant: bool,
    dtype: int,
    x_shape: Sequence[str | int] | None,
) -> onnx.ModelProto:
    numpy_type = helper.tensor_dtype_to_np_dtype(dtype)
    shape: Sequence[str | int] = ["batch", "row", layer.in_features] if x_shape is None else x_shape
    inputs = [helper.make_tensor_value_info("X", dtype, shape)]
    initializers = []
    for name, tensor in tensors.items():
        if constant:
            initializers.append(numpy_helper.from_array(tensor.astype(numpy_type), name))
        else:
            inputs.append(helper.make_tensor_value_info(name, dtype, [None] * tensor.ndim))
    output = helper.make_tensor_value_info("Y", dtype, None)
    graph = helper.make_graph([node], "layer", inputs, [output], initializers)
    opsets = [
        helper.make_opsetid("", contract.OPSET),
        helper.make_opsetid(contract.DOMAIN, contract.DOMAIN_VERSION),
    ]
    return helper.make_model(graph, opset_imports=opsets, ir_version=contract.IR_VERSION)
