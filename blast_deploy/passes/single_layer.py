"""A model of one structured layer alone: its operator with its function body, on constant factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from blast_deploy.passes.bodies import body_proto
from blast_deploy.passes.structured import LAYER_OPERATORS
from blast_deploy.results import Epilogue
from blast_deploy.structures.contract import DOMAIN, DOMAIN_VERSION, IR_VERSION


def single_layer_model(
    operator: str,
    tensors: Mapping[str, NDArray[Any]],
    out_features: int,
    in_features: int,
    epilogue: Epilogue | None = None,
    attributes: Mapping[str, int | str] | None = None,
) -> onnx.ModelProto:
    """Build a model with input ``X`` (rows, in_features) and output ``Y`` (rows, out_features).

    With a residual it has a second input ``residual`` (rows, out_features).

    Args:
        operator: Operator in domain ``ai.blast`` that has a function body.
        tensors: Its constant inputs in order, ``X`` excepted, 4 bits in int8; the last, the bias, has the
            dtype of ``X`` and ``Y``.
        out_features: Width of ``Y``.
        in_features: Width of ``X``.
        epilogue: What follows the operator, in standard operators; None for nothing.
        attributes: The operator's attributes, the sizes aside.

    Raises:
        InvalidInputError: If the operator has no function body here.
    """
    body = body_proto(operator)
    following, others = epilogue or Epilogue(), attributes or {}
    element_type = helper.np_dtype_to_tensor_dtype(tensors["bias"].dtype)
    sizes = {"in_features": in_features, "out_features": out_features}
    node = helper.make_node(operator, ["X", *tensors], ["layer"], name="layer", domain=DOMAIN)
    node.attribute.extend(helper.make_attribute(*each) for each in (sizes | dict(others)).items())
    inputs = [helper.make_tensor_value_info("X", element_type, ["rows", in_features])]
    if following.residual:
        inputs.append(helper.make_tensor_value_info("residual", element_type, ["rows", out_features]))
    graph = helper.make_graph(
        [node, *_epilogue_nodes(following)],
        "single_layer",
        inputs,
        [helper.make_tensor_value_info("Y", element_type, ["rows", out_features])],
        [numpy_helper.from_array(array, name) for name, array in _stored(operator, tensors, others).items()],
    )
    return helper.make_model(
        graph,
        functions=[body],
        opset_imports=[
            helper.make_opsetid("", LAYER_OPERATORS[operator].opset),
            helper.make_opsetid(DOMAIN, DOMAIN_VERSION),
        ],
        ir_version=IR_VERSION,
    )


def _stored(
    operator: str, tensors: Mapping[str, NDArray[Any]], attributes: Mapping[str, int | str]
) -> dict[str, NDArray[Any]]:
    """The tensors in the element types that ONNX has for them."""
    if attributes.get("bits") != 4:
        return dict(tensors)
    narrow = {item.name for item in LAYER_OPERATORS[operator].inputs if item.type == "Q"}
    return {
        name: array.astype(ml_dtypes.int4) if name in narrow else array for name, array in tensors.items()
    }


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
