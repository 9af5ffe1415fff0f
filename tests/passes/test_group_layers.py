"""Layers of one input become one node that gives the same bits, and each stays known by itself."""

from __future__ import annotations

from collections.abc import Sequence

import blast_models
import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from blast_deploy.errors import InvalidInputError
from blast_deploy.native import Library, library_path
from blast_deploy.passes.fuse_epilogues import FuseEpilogues
from blast_deploy.passes.group_layers import GroupLayers
from blast_deploy.passes.identity import groups_of, layer_ports, nodes_of
from blast_deploy.passes.pack_blast import PackBlast
from blast_deploy.passes.taps import Taps, tap_names
from blast_deploy.structures.blast.operator import function_proto
from blast_deploy.structures.contract import DOMAIN

NAMES = ("q", "k", "v")


def packed(
    out_features: Sequence[int] = (5, 9, 6), blocks_in: Sequence[int] = (3, 3, 3), *, gelu: str | None = None
) -> ir.Model:
    """Layers of ``x`` (rows, 7), each with its own output; ``gelu`` names one that is followed by Gelu."""
    nodes, initializers, outputs = [], [], []
    for index, (name, m, b2) in enumerate(zip(NAMES, out_features, blocks_in, strict=True)):
        matrix = blast_models.random_matrix(m, 7, (2, b2), 4 + index, seed=index)
        arrays = {"U": matrix.u, "S": matrix.s, "V": matrix.v, "bias": np.arange(m, dtype=np.float32)}
        initializers += [numpy_helper.from_array(array, f"{name}.{key}") for key, array in arrays.items()]
        inputs = ["x", *(f"{name}.{key}" for key in arrays)]
        own = f"{name}.plain" if name == gelu else f"y.{name}"
        nodes.append(
            helper.make_node(
                "BlastLinear", inputs, [own], name=name, domain=DOMAIN, in_features=7, out_features=m
            )
        )
        if name == gelu:
            nodes.append(helper.make_node("Gelu", [own], [f"y.{name}"]))
        outputs.append(helper.make_tensor_value_info(f"y.{name}", 1, ["rows", m]))
    entering = helper.make_tensor_value_info("x", 1, ["rows", 7])
    graph = helper.make_graph(nodes, "attention", [entering], outputs, initializers)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    proto = helper.make_model(graph, functions=[function_proto()], opset_imports=opsets, ir_version=10)
    model = ir.from_proto(proto)
    PackBlast(NAMES, Library().instruction_sets()[0])(model)
    FuseEpilogues()(model)
    return model


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("gelu", [None, "q", "k"])
@pytest.mark.parametrize("rows", [0, 1, 5, 90])
def test_a_group_gives_every_bit_of_its_layers(gelu: str | None, rows: int) -> None:
    entering = np.random.default_rng(rows).standard_normal((rows, 7)).astype(np.float32)
    alone = blast_models.run(packed(gelu=gelu), entering, str(library_path()))
    model = packed(gelu=gelu)
    assert GroupLayers()(model).modified
    assert operators(model) == ["BlastLinearGroupPacked"]
    found = blast_models.run(model, entering, str(library_path()))
    assert list(found) == [f"y.{name}" for name in NAMES]
    for name, array in alone.items():
        np.testing.assert_array_equal(found[name], array)


def test_every_layer_stays_known_and_can_be_tapped() -> None:
    model = packed()
    GroupLayers()(model)
    model = ir.from_proto(ir.to_proto(model))
    ports = [(port.name, port.input, port.output.name) for port in layer_ports(model)]
    assert ports == [(name, "x", f"y.{name}") for name in NAMES]
    assert nodes_of(model) == {name: [model.graph[0]] for name in NAMES}
    assert groups_of(model)["k"] == ("q", "v")
    Taps()(model)
    entering = np.random.default_rng(1).standard_normal((3, 7)).astype(np.float32)
    found = blast_models.run(model, entering, str(library_path()))
    for name in NAMES:
        before, after = tap_names(name)
        np.testing.assert_array_equal(found[before], entering)
        np.testing.assert_array_equal(found[after], found[f"y.{name}"])


def test_layers_that_differ_in_block_columns_stay_apart() -> None:
    model = packed(blocks_in=(3, 2, 3))
    GroupLayers()(model)
    assert operators(model) == ["BlastLinearGroupPacked", "BlastLinearPacked"]
    assert groups_of(model) == {"q": ("v",), "v": ("q",)}


def test_layers_of_other_inputs_stay_apart() -> None:
    model = packed()
    copied = ir.node("Identity", [model.graph.inputs[0]])
    model.graph.insert_before(model.graph[0], copied)
    for node in list(model.graph)[2:]:
        node.replace_input_with(0, copied.outputs[0] if node.name == "k" else model.graph.inputs[0])
    GroupLayers()(model)
    assert groups_of(model) == {"q": ("v",), "v": ("q",)}


def test_a_residual_stays_apart() -> None:
    model = packed(out_features=(7, 9, 7))
    node = model.graph[0]
    added = ir.Node(
        node.domain,
        node.op_type,
        [*node.inputs, model.graph.inputs[0]],
        list(node.attributes.values()),
        name=node.name,
        metadata_props=dict(node.metadata_props),
    )
    ir.convenience.replace_nodes_and_values(model.graph, node, [node], [added], node.outputs, added.outputs)
    GroupLayers()(model)
    assert groups_of(model) == {"k": ("v",), "v": ("k",)}


def test_a_computed_bias_stays_apart() -> None:
    model = packed()
    node = model.graph[2]
    bias = node.inputs[2]
    assert bias is not None
    computed = ir.node("Identity", [bias])
    model.graph.insert_before(node, computed)
    node.replace_input_with(2, computed.outputs[0])
    GroupLayers()(model)
    assert groups_of(model) == {"q": ("k",), "k": ("q",)}


def test_large_layers_stay_apart() -> None:
    model = packed()
    for node in model.graph:
        factors = node.inputs[1]
        assert factors is not None
        factors.const_value = ir.LazyTensor(
            lambda: ir.Tensor(np.zeros(400_000, np.float32)), ir.DataType.FLOAT, ir.Shape((400_000,))
        )
    assert not GroupLayers()(model).modified


def test_readers_between_the_layers_come_after_the_group() -> None:
    model = packed(gelu="q")
    gelu = ir.node("Neg", [model.graph[0].outputs[0]])
    model.graph.insert_after(model.graph[0], gelu)
    GroupLayers()(model)
    assert operators(model) == ["BlastLinearGroupPacked", "Neg"]
    blast_models.run(model, np.ones((2, 7), np.float32), str(library_path()))


@pytest.mark.parametrize("names", ["", "{", "q", '"q"', "[1]", "[" * 100_000])
def test_damaged_names_are_refused_with_a_sentence(names: str) -> None:
    model = packed()
    GroupLayers()(model)
    (node,) = (node for node in model.graph if node.op_type == "BlastLinearGroupPacked")
    node.metadata_props["blast_deploy.layers"] = names
    with pytest.raises(InvalidInputError, match="must be a list in JSON"):
        layer_ports(model)
