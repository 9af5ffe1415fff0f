"""ONNX models of a few layers of one size that all read X and share nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from blast_deploy.native import Library
from blast_deploy.passes.inline_functions import InlineFunctions
from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.structures import contract
from blast_deploy.structures.blast import operator
from blast_deploy.structures.blast import packing as blast_packing
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.dense import packing as dense_packing

Array = NDArray[Any]


def kernel_model(matrices: Sequence[BlastMatrix]) -> onnx.ModelProto:
    """The packed kernel."""
    b1, b2 = matrices[0].blocks
    attributes = {
        "blocks_out": b1,
        "blocks_in": b2,
        "rank": matrices[0].rank,
        "layout_version": blast_packing.LAYOUT_VERSION,
        "instruction_set": Library().instruction_sets()[0],
    }
    tensors = [{"factors": blast_packing.pack(matrix)} for matrix in matrices]
    return make_model(contract.BLAST_LINEAR_PACKED.name, tensors, _sizes(matrices[0]), attributes)


def body_model(matrices: Sequence[BlastMatrix]) -> onnx.ModelProto:
    """The standard operators of the function body."""
    tensors = [{"U": matrix.u, "S": matrix.s, "V": matrix.v} for matrix in matrices]
    proto = make_model(contract.BLAST_LINEAR.name, tensors, _sizes(matrices[0]), {})
    proto.functions.append(operator.function_proto())
    model = ir.from_proto(proto)
    NameLayers()(model)
    InlineFunctions([f"layer{index}" for index in range(len(matrices))])(model)
    return ir.to_proto(model)


def twin_model(weights: Sequence[Array]) -> onnx.ModelProto:
    """Our product on dense weights, each (out_features, in_features)."""
    attributes = {
        "layout_version": dense_packing.LAYOUT_VERSION,
        "instruction_set": Library().instruction_sets()[0],
    }
    tensors = [{"weights": dense_packing.pack(weight)} for weight in weights]
    return make_model(contract.DENSE_LINEAR_PACKED.name, tensors, weights[0].shape, attributes)


def matmul_model(weights: Sequence[Array]) -> onnx.ModelProto:
    """ONNX Runtime's own product of dense weights, each (out_features, in_features)."""
    initializers = [
        numpy_helper.from_array(np.ascontiguousarray(weight.T), f"weight{index}")
        for index, weight in enumerate(weights)
    ]
    nodes = [
        helper.make_node("MatMul", ["X", f"weight{index}"], [f"Y{index}"]) for index in range(len(weights))
    ]
    return _finish(nodes, initializers, weights[0].shape)


def _sizes(matrix: BlastMatrix) -> tuple[int, int]:
    return matrix.out_features, matrix.in_features


def make_model(
    operator_type: str, tensors: list[dict[str, Array]], sizes: tuple[int, ...], attributes: dict[str, Any]
) -> onnx.ModelProto:
    """One node of domain ai.blast for each set of tensors; the bias is of zeros and shared."""
    out_features, in_features = sizes
    initializers = [numpy_helper.from_array(np.zeros(out_features, np.float32), "bias")]
    nodes = []
    for index, named in enumerate(tensors):
        names = [f"layer{index}.{name}" for name in named]
        initializers += map(numpy_helper.from_array, named.values(), names)
        nodes.append(
            helper.make_node(
                operator_type,
                ["X", *names, "bias"],
                [f"Y{index}"],
                name=f"layer{index}",
                domain=contract.DOMAIN,
                in_features=in_features,
                out_features=out_features,
                **attributes,
            )
        )
    return _finish(nodes, initializers, sizes)


def _finish(
    nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto], sizes: tuple[int, ...]
) -> onnx.ModelProto:
    out_features, in_features = sizes
    outputs = [_tensor(f"Y{index}", out_features) for index in range(len(nodes))]
    graph = helper.make_graph(nodes, "layers", [_tensor("X", in_features)], outputs, initializers)
    opsets = [
        helper.make_opsetid("", contract.OPSET),
        helper.make_opsetid(contract.DOMAIN, contract.DOMAIN_VERSION),
    ]
    return helper.make_model(graph, opset_imports=opsets, ir_version=contract.IR_VERSION)


def _tensor(name: str, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", width])
