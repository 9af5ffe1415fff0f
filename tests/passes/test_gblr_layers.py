"""GBLR nodes are found, checked, named, tapped, multiplied out and inlined like BLAST's."""

from __future__ import annotations

from collections.abc import Callable

import blast_models
import gblr_models
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.densify import Densify
from blast_deploy.passes.identity import layer_ports
from blast_deploy.passes.inline_functions import InlineFunctions
from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.passes.structured import structured_layers
from blast_deploy.passes.taps import Taps
from blast_deploy.passes.widen_bfloat16 import WidenBfloat16
from blast_deploy.portable import linear_layer
from blast_deploy.stock import run_stock

NAMES = ["block.0", "block.1"]


def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 3, 19)).astype(np.float32)


def run(model: ir.Model) -> np.ndarray:
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    (found,) = run_stock(ir.to_proto(model).SerializeToString(), [{"x": x()}])
    return found["y"]


def test_layers_are_found_with_their_factors() -> None:
    chain = gblr_models.chain()
    layers = structured_layers(ir.from_proto(chain.model()))
    assert [layer.name for layer in layers] == NAMES
    for layer, matrix, bias in zip(layers, chain.matrices, chain.biases, strict=True):
        assert (layer.out_features, layer.in_features) == (matrix.out_features, matrix.in_features)
        np.testing.assert_array_equal(layer.gblr_later()().dense(), matrix.dense())
        np.testing.assert_array_equal(layer.bias(), bias)
        assert list(layer.tensors()) == ["u", "u_start", "u_width", "v", "v_start", "v_width", "bias"]
        assert linear_layer(layer).weights == matrix.cost.parameters
        with pytest.raises(InvalidInputError, match="is no BLAST layer; it is GblrLinear"):
            layer.matrix()


def test_a_blast_layer_has_no_intervals() -> None:
    layer = structured_layers(blast_models.model())[0]
    with pytest.raises(InvalidInputError, match="is no GBLR layer; it is BlastLinear"):
        layer.gblr_later()


@pytest.mark.parametrize("step", [Densify, InlineFunctions])
@pytest.mark.parametrize("chosen", [NAMES, NAMES[1:]])
def test_forms_compute_the_same(step: type[Densify], chosen: list[str]) -> None:
    chain = gblr_models.chain()
    model = ir.from_proto(chain.model())
    assert step(chosen)(model).modified
    np.testing.assert_allclose(run(model), chain.forward(x()), rtol=1e-4, atol=1e-5)
    assert bool(model.functions) == (chosen != NAMES)
    left = [name for name in model.graph.initializers if name.startswith("block.1.u")]
    assert left == ([] if step is Densify else ["block.1.u", "block.1.u_start", "block.1.u_width"])


def test_a_missing_body_is_taken_from_the_contract() -> None:
    chain = gblr_models.chain()
    model = ir.from_proto(chain.model())
    model.functions.clear()
    InlineFunctions(NAMES)(model)
    np.testing.assert_allclose(run(model), chain.forward(x()), rtol=1e-4, atol=1e-5)


def test_names_come_from_the_parameters() -> None:
    proto = gblr_models.chain().model()
    for index, node in enumerate(proto.graph.node):
        node.name = f"node_{index}"
    model = ir.from_proto(proto)
    assert NameLayers()(model).modified
    assert [layer.name for layer in structured_layers(model)] == NAMES
    ports = {port.name: (port.input, port.output.name) for port in layer_ports(model)}
    assert ports == {"block.0": ("x", "block.0.output"), "block.1": ("t", "y")}


def test_taps_show_what_enters_and_leaves() -> None:
    chain = gblr_models.chain()
    model = ir.from_proto(chain.model())
    Taps()(model)
    (found,) = run_stock(ir.to_proto(model).SerializeToString(), [{"x": x()}])
    hidden = chain.matrices[0].apply(x(), chain.biases[0])
    np.testing.assert_allclose(found["block.0:output"], hidden, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["block.1:input"], np.tanh(hidden), rtol=1e-4, atol=1e-5)


def test_bfloat16_is_widened_and_its_intervals_stay() -> None:
    import ml_dtypes

    matrix = gblr_models.odd("wraps-around", ml_dtypes.bfloat16)
    bias = np.zeros(11, ml_dtypes.bfloat16)
    proto = gblr_models.one_layer(matrix, bias, ["rows"])
    model = ir.from_proto(proto)
    WidenBfloat16()(model)
    (layer,) = structured_layers(model)
    assert (layer.name, layer.dtype, layer.intervals is not None) == ("layer", "float32", True)
    np.testing.assert_array_equal(layer.gblr_later()().dense(), matrix.dense())


def replace(name: str, array: np.ndarray) -> Callable[[onnx.ModelProto], None]:
    def spoil(proto: onnx.ModelProto) -> None:
        (tensor,) = (each for each in proto.graph.initializer if each.name == f"block.1.{name}")
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return spoil


def drop_bias(proto: onnx.ModelProto) -> None:
    del proto.graph.node[2].input[7]


def compute_starts(proto: onnx.ModelProto) -> None:
    proto.graph.node.insert(0, helper.make_node("Abs", ["block.1.u_start"], ["abs"]))
    proto.graph.node[3].input[2] = "abs"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (replace("u", np.zeros(3, np.float32)), "u of layer 'block.1' is no GBLR factor: values must be"),
        (replace("u_start", np.full(9, 23)), "u of layer 'block.1' .* starts must lie in 0 .. 22"),
        (replace("v_start", np.full(9, -1)), "v of layer 'block.1' .* starts must lie in 0 .. 36"),
        (replace("v_width", np.zeros(9, np.int64)), r"widths must lie in 1 .. 37 \(got 0 to 0\)"),
        (replace("v_width", np.full(9, 2**62)), r"widths must lie in 1 .. 37"),
        (replace("v_width", np.zeros(9, np.int32)), "widths must be int64"),
        (replace("v_start", np.zeros((9, 1), np.int64)), "starts must be int64"),
        (replace("v", np.zeros(3)), r"'block.1' must share one float type \(got DOUBLE, FLOAT\)"),
        (replace("bias", np.zeros(22, np.float32)), r"bias of layer 'block.1' must be \(23,\)"),
        (drop_bias, r"'block.1' must have 8 inputs \(got 7\)"),
        (compute_starts, "u_start of layer 'block.1' must be a constant"),
    ],
)
def test_spoilt_models_are_refused(spoil: Callable[[onnx.ModelProto], None], message: str) -> None:
    proto = gblr_models.chain().model()
    spoil(proto)
    with pytest.raises(InvalidInputError, match=message):
        structured_layers(ir.from_proto(proto))


def test_sides_of_other_counts_are_refused() -> None:
    proto = gblr_models.one_layer(gblr_models.odd("width-one", np.float32), np.zeros(5, np.float32), ["rows"])
    for name, array in (
        ("v", np.ones(1, np.float32)),
        ("v_start", np.zeros(1, np.int64)),
        ("v_width", np.ones(1, np.int64)),
    ):
        (tensor,) = (each for each in proto.graph.initializer if each.name == f"layer.{name}")
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    with pytest.raises(InvalidInputError, match=r"as many u_start as v_start \(got 2 and 1\)"):
        structured_layers(ir.from_proto(proto))
