"""Activations and residuals that packed layers absorb, and those that they must leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from portable_models import BLAST_OPSETS, LayerSizes, random_layers

from blast_deploy.native import Library, library_path
from blast_deploy.passes.fuse_epilogues import FuseEpilogues, epilogues_of
from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.passes.pack_blast import PackBlast
from blast_deploy.passes.structured import structured_layers
from blast_deploy.passes.taps import Taps
from blast_deploy.results import Epilogue
from blast_deploy.structures.blast import operator
from blast_deploy.structures.contract import IR_VERSION

SQUARE = LayerSizes(21, 21, (3, 2), 5)
GELU = [helper.make_node("Gelu", ["h"], ["y"])]
GELU_TANH = [helper.make_node("Gelu", ["h"], ["y"], approximate="tanh")]
SILU = [helper.make_node("Sigmoid", ["h"], ["s"]), helper.make_node("Mul", ["h", "s"], ["y"])]
SILU_TURNED = [helper.make_node("Sigmoid", ["h"], ["s"]), helper.make_node("Mul", ["s", "h"], ["y"])]
RESIDUAL = [helper.make_node("Add", ["h", "x"], ["y"])]
RESIDUAL_TURNED = [helper.make_node("Add", ["x", "h"], ["y"])]
SILU_AND_RESIDUAL = [
    *SILU[:1],
    helper.make_node("Mul", ["h", "s"], ["a"]),
    helper.make_node("Add", ["a", "x"], ["y"]),
]


def packed_model(nodes: list[onnx.NodeProto], outputs: tuple[str, ...] = ("y",)) -> ir.Model:
    """x -> one packed layer -> h -> the nodes given; every value but bias-like ones has the shape of x."""
    (layer,) = random_layers((SQUARE,))
    arrays = {"U": layer.matrix.u, "S": layer.matrix.s, "V": layer.matrix.v, "bias": layer.bias}
    sizes = {"in_features": 21, "out_features": 21}
    names = [f"block.0.{name}" for name in arrays]
    node = helper.make_node("BlastLinear", ["x", *names], ["h"], "block.0", domain="ai.blast", **sizes)
    shape = ["batch", "rows", 21]
    inner = {name for each in nodes for name in each.output} - set(outputs)
    graph = helper.make_graph(
        [node, *nodes],
        "layer and what follows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in zip(names, arrays.values(), strict=True)]
        + [numpy_helper.from_array(np.linspace(-1, 1, 21, dtype=np.float32), "row")],
        value_info=[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("h", *inner)],
    )
    proto = helper.make_model(
        graph, functions=[operator.function_proto()], opset_imports=BLAST_OPSETS, ir_version=IR_VERSION
    )
    model = ir.from_proto(proto)
    NameLayers()(model)
    PackBlast([layer.name for layer in structured_layers(model)], Library().instruction_sets()[0])(model)
    return model


def run(model: ir.Model) -> dict[str, NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(library_path()))
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    x = np.random.default_rng(3).standard_normal((2, 9, 21)).astype(np.float32)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"x": x}), strict=True))


@pytest.mark.parametrize(
    ("nodes", "epilogue"),
    [
        (GELU, Epilogue("gelu")),
        (GELU_TANH, Epilogue("gelu_tanh")),
        (SILU, Epilogue("silu")),
        (SILU_TURNED, Epilogue("silu")),
        (RESIDUAL, Epilogue(residual=True)),
        (RESIDUAL_TURNED, Epilogue(residual=True)),
        (SILU_AND_RESIDUAL, Epilogue("silu", residual=True)),
    ],
)
def test_what_follows_is_absorbed(nodes: list[onnx.NodeProto], epilogue: Epilogue) -> None:
    model, plain = packed_model(nodes), packed_model(nodes)
    assert FuseEpilogues()(model).modified
    assert [node.op_type for node in model.graph] == ["BlastLinearPacked"]
    assert epilogues_of(model) == {"block.0": epilogue}
    np.testing.assert_allclose(run(model)["y"], run(plain)["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        (GELU, ("y", "h")),
        ([*GELU, helper.make_node("Neg", ["h"], ["n"])], ("y", "n")),
        ([helper.make_node("Sigmoid", ["h"], ["y"])], ("y",)),
        (SILU, ("y", "s")),
        ([helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["h", "s"], ["y"])], ("y",)),
        ([helper.make_node("Add", ["h", "row"], ["y"])], ("y",)),
        ([helper.make_node("Add", ["h", "h"], ["y"])], ("y",)),
        (RESIDUAL, ("y", "h")),
    ],
    ids=["output", "read twice", "sigmoid", "sigmoid read", "gate", "a row", "doubled", "residual output"],
)
def test_what_must_be_left_alone(nodes: list[onnx.NodeProto], outputs: tuple[str, ...]) -> None:
    model = packed_model(nodes, outputs)
    before = [node.op_type for node in model.graph]
    assert not FuseEpilogues()(model).modified
    assert [node.op_type for node in model.graph] == before
    assert epilogues_of(model) == {}


def test_what_a_branch_reads_is_left_alone() -> None:
    shape = ["batch", "rows", 21]
    activated = helper.make_graph(
        [helper.make_node("Gelu", ["h"], ["activated"])],
        "activated",
        [],
        [helper.make_tensor_value_info("activated", TensorProto.FLOAT, shape)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["same"])],
        "other",
        [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, shape)],
    )
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    condition = helper.make_node("Constant", [], ["yes"], value=yes)
    choice = helper.make_node("If", ["yes"], ["y"], then_branch=activated, else_branch=other)
    model = packed_model([condition, choice])
    assert not FuseEpilogues()(model).modified
    assert run(model)["y"].shape == (2, 9, 21)


def test_a_residual_of_unknown_shape_is_left_alone() -> None:
    model = packed_model(RESIDUAL)
    model.graph.inputs[0].shape = None
    assert not FuseEpilogues()(model).modified


def test_a_residual_that_is_computed_later_comes_before_the_layer() -> None:
    nodes = [helper.make_node("Neg", ["x"], ["n"]), helper.make_node("Add", ["h", "n"], ["y"])]
    model, plain = packed_model(nodes), packed_model(nodes)
    FuseEpilogues()(model)
    assert [node.op_type for node in model.graph] == ["Neg", "BlastLinearPacked"]
    np.testing.assert_allclose(run(model)["y"], run(plain)["y"], rtol=1e-5, atol=1e-6)


def test_a_layer_that_adds_a_residual_is_tapped_with_it() -> None:
    model = packed_model(RESIDUAL)
    FuseEpilogues()(model)
    Taps()(model)
    found = run(model)
    np.testing.assert_array_equal(found["block.0:residual"], found["block.0:input"])
    np.testing.assert_array_equal(found["block.0:output"], found["y"])
