"""A model of one structured layer alone: its operator with its function body, on constant factors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from blast_deploy.errors import InvalidInputError
from blast_deploy.results import Epilogue
from blast_deploy.structures.blast import operator as blast
from blast_deploy.structures.contract import DOMAIN, DOMAIN_VERSION, IR_VERSION, OPSET

_BODIES: dict[str, Callable[[], onnx.FunctionProto]] = {"BlastLinear": blast.function_proto}


def single_layer_model(
    operator: str,
    tensors: Mapping[str, NDArray[Any]],
    out_features: int,
    in_features: int,
    epilogue: Epilogue | None = None,
) -> onnx.ModelProto:
    """Build a model with input ``X`` (rows, in_features) and output ``Y`` (rows, out_features).

    With a residual it has a second input ``residual`` (rows, out_features).

    Args:
        operator: Operator in domain ``ai.blast`` that has a function body.
        tensors: Its constant inputs in order, ``X`` excepted, all of one dtype.
        out_features: Width of ``Y``.
        in_features: Width of ``X``.
        epilogue: What follows the operator, in standard operators; None for nothing.

    Raises:
        InvalidInputError: If the operator has no function body here.
    """
    if operator not in _BODIES:
        raise InvalidInputError(f"{operator} has no function body; it must be one of {', '.join(_BODIES)}")
    following = epilogue or Epilogue()
    element_type = helper.np_dtype_to_tensor_dtype(next(iter(tensors.values())).dtype)
    node = helper.make_node(
        operator,
        ["X", *tensors],
        ["layer"],
        name="layer",
        domain=DOMAIN,
        in_features=in_features,
        out_features=out_features,
    )
    inputs = [helper.make_tensor_value_info("X", element_type, ["rows", in_features])]
    if following.residual:
        inputs.append(helper.make_tensor_value_info("residual", element_type, ["rows", out_features]))
    graph = helper.make_graph(
        [node, *_epilogue_nodes(following)],
        "single_layer",
        inputs,
        [helper.make_tensor_value_info("Y", element_type, ["rows", out_features])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(
        graph,
        functions=[_BODIES[operator]()],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)],
        ir_version=IR_VERSION,
    )


def _epilogue_nodes(epilogue: Epilogue) -> list[onnx.NodeProto]:
    """From value ``layer`` to value ``Y``."""
    activated = "activated" if epilogue.residual else "Y"
    nodes = {
        "none": [helper.make_node("Identity", ["layer"], [activated])],
        "gelu": [helper.make_node("Gelu", ["layer"], [activated])],
        "gelu_tanh": [helper.make_node("Gelu", ["layer"], [activated], approximate="tanh")],
        "silu": [
            helper.make_node("Sigmoid", ["layer"], ["sigmoid"]),
            helper.make_node("Mul", ["layer", "sigmoid"], [activated]),
        ],
    }[epilogue.activation]
    if epilogue.residual:
        nodes.append(helper.make_node("Add", [activated, "residual"], ["Y"]))
    return nodes
