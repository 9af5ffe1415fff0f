"""How a layer stays known while its form changes.

Every node that computes part of a layer carries the metadata property ``blast_deploy.layer``, the layer's
name. The node that gives the layer's output also carries ``blast_deploy.layer_input``, the name of the value
that enters the layer, and that value and the output keep their names in every rewrite. So a layer can be
found and tapped whether it is one ``ai.blast`` node, a MatMul and an Add, or an inlined function body. Where
the node adds a residual too, ``blast_deploy.layer_residual`` is the name of that value. A node that computes
several layers of one input carries ``blast_deploy.layers`` instead, a JSON list of their names in the order
of its outputs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from blast_deploy.errors import InvalidInputError

LAYER = "blast_deploy.layer"
LAYERS = "blast_deploy.layers"
LAYER_INPUT = "blast_deploy.layer_input"
LAYER_RESIDUAL = "blast_deploy.layer_residual"


@dataclass(frozen=True)
class LayerPorts:
    """Where a layer begins and ends.

    Attributes:
        name: The layer's name.
        input: Name of the value that enters it.
        output: The value that it gives.
        residual: Name of the value that is added to its output before it leaves the node, or None.
    """

    name: str
    input: str
    output: ir.Value
    residual: str | None = None


def mark(nodes: Sequence[ir.Node], name: str, input_name: str) -> None:
    """Make nodes the layer ``name``: the first output of the last of them is the layer's output."""
    for node in nodes:
        node.metadata_props[LAYER] = name
        node.metadata_props.pop(LAYER_INPUT, None)
    nodes[-1].metadata_props[LAYER_INPUT] = input_name


def mark_group(node: ir.Node, names: Sequence[str]) -> None:
    """Make a node several layers: the output of each in turn, and its first input that of all."""
    node.metadata_props[LAYERS] = json.dumps(list(names))
    entering = node.inputs[0]
    node.metadata_props[LAYER_INPUT] = (entering.name or "") if entering is not None else ""


def layer_of(node: ir.Node) -> str:
    """The name of the layer that a node is, marked or not."""
    return node.metadata_props.get(LAYER) or node.name or node.outputs[0].name or ""


def layers_of(node: ir.Node) -> list[str]:
    """Names of the layers that a node is marked as, or as a part of; none where it is not marked."""
    if LAYERS in node.metadata_props:
        return _names(node)
    return [node.metadata_props[LAYER]] if LAYER in node.metadata_props else []


def _names(node: ir.Node) -> list[str]:
    try:
        names = json.loads(node.metadata_props[LAYERS])
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidInputError(
            f"the names of the layers of node {node.name!r} must be a list in JSON "
            f"(got {node.metadata_props[LAYERS][:40]!r}); compile the model again"
        )
    return names


def layer_ports(model: ir.Model) -> tuple[LayerPorts, ...]:
    """Find every marked layer of the graph and its subgraphs, in graph order."""
    return tuple(port for node in model.graph.all_nodes() for port in _ports(node))


def nodes_of(model: ir.Model) -> dict[str, list[ir.Node]]:
    """Layer name to its marked nodes, in graph order."""
    found: dict[str, list[ir.Node]] = {}
    for node in model.graph.all_nodes():
        for layer in layers_of(node):
            found.setdefault(layer, []).append(node)
    return found


def groups_of(model: ir.Model) -> dict[str, tuple[str, ...]]:
    """Layer name to the other layers that its node computes; layers that have a node alone are left out."""
    return {
        layer: tuple(other for other in layers if other != layer)
        for node in model.graph.all_nodes()
        if len(layers := layers_of(node)) > 1
        for layer in layers
    }


def _ports(node: ir.Node) -> Iterator[LayerPorts]:
    if LAYER_INPUT not in node.metadata_props:
        return
    entering, residual = node.metadata_props[LAYER_INPUT], node.metadata_props.get(LAYER_RESIDUAL)
    for layer, output in zip(layers_of(node), node.outputs, strict=False):
        yield LayerPorts(layer, entering, output, residual)
