"""Finding structured layers, and refusing models whose layers are not what they claim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import blast_models
import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.structured import select, structured_layers


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_layers_are_read_back(dtype: Any) -> None:
    layers = structured_layers(blast_models.model(dtype))
    assert [layer.name for layer in layers] == list(blast_models.LAYERS)
    for layer in layers:
        expected = blast_models.matrix_of(layer.name, dtype)
        assert layer.dtype == np.dtype(dtype).name
        assert (layer.out_features, layer.in_features) == (expected.out_features, expected.in_features)
        assert (layer.blocks, layer.rank) == (expected.blocks, expected.rank)
        found = layer.matrix()
        for name in ("u", "s", "v"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
            assert getattr(found, name).dtype == dtype
        np.testing.assert_array_equal(layer.bias(), blast_models.bias_of(layer.name, dtype))
    assert [layer.input.name for layer in layers] == ["x", "x", "r"]
    assert [layer.output.name for layer in layers] == ["h", "k", "y"]


def test_bfloat16_is_read_as_float32() -> None:
    layer = structured_layers(blast_models.model(ml_dtypes.bfloat16))[0]
    assert layer.dtype == "bfloat16"
    assert layer.matrix().u.dtype == layer.bias().dtype == np.float32


def test_constants_may_be_nodes() -> None:
    proto = blast_models.proto()
    tensor = proto.graph.initializer[0]
    assert tensor.name == "block.first.U"
    constant = helper.make_node("Constant", [], ["block.first.U"], value=tensor)
    proto.graph.initializer.remove(tensor)
    proto.graph.node.insert(0, constant)
    found = structured_layers(ir.from_proto(proto))[0].matrix().u
    np.testing.assert_array_equal(found, blast_models.matrix_of("block.first").u)


def test_a_model_without_layers_has_none() -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "plain",
        [helper.make_tensor_value_info("x", 1, [1])],
        [helper.make_tensor_value_info("y", 1, [1])],
    )
    assert structured_layers(ir.from_proto(helper.make_model(graph))) == ()


def test_an_unnamed_node_is_known_by_its_output() -> None:
    proto = blast_models.proto()
    proto.graph.node[0].name = ""
    assert structured_layers(ir.from_proto(proto))[0].name == "h"


def set_version(proto: onnx.ModelProto) -> None:
    proto.opset_import[1].version = 2


def set_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].op_type = "OtherLinear"


def compute_factor(proto: onnx.ModelProto) -> None:
    proto.graph.node.insert(0, helper.make_node("Abs", ["block.first.S"], ["abs"]))
    proto.graph.node[1].input[2] = "abs"


def feed_factor(proto: onnx.ModelProto) -> None:
    proto.graph.input.append(helper.make_tensor_value_info("last.V", 1, [2, 2, 3]))


def misshape_factor(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((2, 2, 4), "f"), "block.first.U"))


def misshape_bias(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[3].CopyFrom(numpy_helper.from_array(np.zeros(4, "f"), "block.first.bias"))


def mix_types(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[3].CopyFrom(numpy_helper.from_array(np.zeros(5), "block.first.bias"))


def drop_bias(proto: onnx.ModelProto) -> None:
    del proto.graph.node[0].input[4]


def drop_attribute(proto: onnx.ModelProto) -> None:
    del proto.graph.node[0].attribute[0]


def skip_input(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = ""


def repeat_name(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].name = "last"


def hide_in_function(proto: onnx.ModelProto) -> None:
    inner = helper.make_node("BlastLinear", ["a", "b", "c", "d", "e"], ["f"], domain="ai.blast")
    opsets = [helper.make_opsetid("ai.blast", 1)]
    proto.functions.append(helper.make_function("own", "Wrapped", list("abcde"), ["f"], [inner], opsets))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (set_version, "uses version 2 of operator domain ai.blast, and this tool reads version 1"),
        (set_operator, "operator ai.blast::OtherLinear of node 'block.first' is not known; .*BlastLinear"),
        (compute_factor, "S of layer 'block.first' must be a constant .*'abs'"),
        (feed_factor, "V of layer 'last' must be a constant"),
        (misshape_factor, r"'block.first' is no BLAST layer: U must be \(2, 3, 4\) .*got \(2, 2, 4\)"),
        (misshape_bias, r"bias of layer 'block.first' must be \(5,\) \(got \(4,\)\)"),
        (mix_types, r"'block.first' must share one float type \(got DOUBLE, FLOAT\)"),
        (drop_bias, r"must have 5 inputs \(got 4\); give zeros"),
        (drop_attribute, "must have the integer attribute"),
        (skip_input, "input X of layer 'block.first' is missing"),
        (repeat_name, "2 structured layers are named 'last'"),
        (hide_in_function, "function own::Wrapped calls operators of domain ai.blast"),
    ],
)
def test_spoilt_models_are_refused(spoil: Callable[[onnx.ModelProto], None], message: str) -> None:
    proto = blast_models.proto()
    spoil(proto)
    with pytest.raises(InvalidInputError, match=message):
        structured_layers(ir.from_proto(proto))


def test_select_keeps_graph_order_and_refuses_unknown_names() -> None:
    layers = structured_layers(blast_models.model())
    assert [each.name for each in select(layers, ["last", "block.first"])] == ["block.first", "last"]
    with pytest.raises(InvalidInputError, match="no structured layer 'typo'; it has 3"):
        select(layers, ["last", "typo"])


@pytest.mark.parametrize("end", ["inputs", "outputs"])
def test_a_body_of_another_signature_is_refused(end: str) -> None:
    model = blast_models.model()
    (body,) = model.functions.values()
    getattr(body, end).pop()
    with pytest.raises(InvalidInputError, match=r"BlastLinear must take 5 values and give 1 \(got"):
        structured_layers(model)
