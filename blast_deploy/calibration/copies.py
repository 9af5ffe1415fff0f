"""Models of a layer's copies, each with weights of its own, that follow each other as a model's layers do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.structures import contract

_COPIES_BYTES = 8 << 20
"""Dense weights that follow each other: more than a core's own caches, less than the last one."""
_OUTPUT_BYTES = 64 << 20
_MOST_COPIES = 32


def copies_of(out_features: int, in_features: int, rows: int) -> int:
    """How many of a layer follow each other; fewer where models would be slow to build or run."""
    by_weights = math.ceil(_COPIES_BYTES / (4 * out_features * in_features))
    by_outputs = _OUTPUT_BYTES // (4 * out_features * rows)
    return max(1, min(by_weights, by_outputs, _MOST_COPIES))


def layer_names(count: int) -> list[str]:
    """What the layers of a model of so many copies are called."""
    return [f"layer{index}" for index in range(count)]


def portable_model(
    function: onnx.FunctionProto,
    tensors: Mapping[str, NDArray[Any]],
    attributes: Mapping[str, int | str],
    count: int,
) -> ir.Model:
    """Build a portable model of copies of a layer that all read X.

    Args:
        function: The body of its operator.
        tensors: The operator's inputs after X, in order, bias included; times do not depend on their values.
        attributes: The operator's.
        count: How many copies.
    """
    width = attributes["out_features"]
    nodes, outputs = [], []
    initializers: list[onnx.TensorProto] = []
    for index, layer in enumerate(layer_names(count)):
        names = [f"{layer}.{name}" for name in tensors]
        initializers += map(_initializer, tensors.values(), names)
        node = helper.make_node(function.name, ["X", *names], [f"Y{index}"], domain=contract.DOMAIN)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        nodes.append(node)
        outputs.append(helper.make_tensor_value_info(f"Y{index}", onnx.TensorProto.FLOAT, ["rows", width]))
    entering = helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, ["rows", attributes["in_features"]])
    opset = next(each.version for each in function.opset_import if each.domain == "")
    proto = helper.make_model(
        helper.make_graph(nodes, "copies", [entering], outputs, initializers),
        functions=[function],
        opset_imports=[
            helper.make_opsetid("", opset),
            helper.make_opsetid(contract.DOMAIN, contract.DOMAIN_VERSION),
        ],
        ir_version=contract.IR_VERSION,
    )
    model = ir.from_proto(proto)
    NameLayers()(model)
    return model


def _initializer(values: NDArray[Any], name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values), name)
