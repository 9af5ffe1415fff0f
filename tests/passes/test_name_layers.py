"""Layers take the names of their modules."""

from __future__ import annotations

import blast_models
import onnx_ir as ir
from portable_models import chain, random_layers

from blast_deploy.passes.identity import layer_ports
from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.passes.structured import structured_layers


def unnamed(prefix: str = "") -> ir.Model:
    proto = blast_models.proto()
    for index, node in enumerate(proto.graph.node):
        node.name = f"node_{index}"
        if node.domain:
            node.input[1:] = [prefix + name for name in node.input[1:]]
    for tensor in proto.graph.initializer:
        tensor.name = prefix + tensor.name
    return ir.from_proto(proto)


def test_names_come_from_the_parameters() -> None:
    model = unnamed()
    assert NameLayers()(model).modified
    assert [layer.name for layer in structured_layers(model)] == list(blast_models.LAYERS)
    ports = {port.name: (port.input, port.output.name) for port in layer_ports(model)}
    assert ports == {
        "block.first": ("x", "block.first.output"),
        "block.beside": ("x", "block.beside.output"),
        "last": ("r", "y"),
    }
    assert [node.name for node in model.graph if node.domain] == list(blast_models.LAYERS)
    blast_models.run(model, blast_models.x())


def test_a_prefix_is_taken_off() -> None:
    model = unnamed("model.")
    NameLayers("model.")(model)
    assert [layer.name for layer in structured_layers(model)] == list(blast_models.LAYERS)
    assert "block.first.U" in model.graph.initializers
    assert not any(name.startswith("model.") for name in model.graph.initializers)
    blast_models.run(model, blast_models.x())


def test_a_module_called_twice_gets_two_names() -> None:
    proto = blast_models.proto()
    proto.graph.node[1].input[1:] = proto.graph.node[0].input[1:]
    model = ir.from_proto(proto)
    NameLayers()(model)
    assert [layer.name for layer in structured_layers(model)] == ["block.first", "block.first#2", "last"]
    assert "block.first.U" in model.graph.initializers


def test_the_root_module_and_strange_names() -> None:
    proto = blast_models.proto()
    renamed = {"last.U": "U", "block.first.U": "strange"}
    for tensor in proto.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in proto.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    model = ir.from_proto(proto)
    NameLayers()(model)
    assert [layer.name for layer in structured_layers(model)] == ["block.first", "block.beside", "layer"]


def test_naming_twice_changes_nothing() -> None:
    model = unnamed()
    NameLayers()(model)
    assert not NameLayers()(model).modified


def test_layers_that_share_every_factor_but_are_two_modules() -> None:
    proto = blast_models.proto()
    proto.graph.node[1].input[1:4] = proto.graph.node[0].input[1:4]
    model = ir.from_proto(proto)
    NameLayers()(model)
    assert [layer.name for layer in structured_layers(model)] == ["block.first", "block.first#2", "last"]


def test_no_initialiser_takes_the_name_of_another() -> None:
    """The first node has the other's factors' name and not their bias."""
    proto = blast_models.proto()
    first, second = proto.graph.node[0], proto.graph.node[1]
    second.input[1:4] = first.input[1:4]
    biases = first.input[4], second.input[4]
    first.input[4], second.input[4] = biases[1], biases[0]
    model = ir.from_proto(proto)
    NameLayers()(model)
    assert biases[1] in model.graph.initializers
    assert [layer.name for layer in structured_layers(model)] == ["block.first", "block.first#2", "last"]


def test_a_name_that_another_value_has_is_left_to_it() -> None:
    """In a chain of two types, what leaves the cast behind a layer is called as its output would be."""
    layers = random_layers(dtype=("float64", "float32"))
    model = ir.from_proto(chain(layers))
    NameLayers()(model)
    names = [value.name for node in model.graph for value in node.outputs]
    assert len(set(names)) == len(names)
    assert "block.0.output" in names
