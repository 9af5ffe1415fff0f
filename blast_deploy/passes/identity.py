"""How a layer stays known while its form changes.

Every node that computes part of a layer carries the metadata property ``blast_deploy.layer``, the layer's
name. The node that gives the layer's output also carries ``blast_deploy.layer_input``, the name of the value
that enters the layer, and that value and the output keep their names in every rewrite. So a layer can be
found and tapped whether it is one ``ai.blast`` node, a MatMul and an Add, or an inlined function body. Where
the node adds a residual too, ``blast_deploy.layer_residual`` is the name of that value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

LAYER = "blast_deploy.layer"
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


def layer_ports(model: ir.Model) -> tuple[LayerPorts, ...]:
    """Find every marked layer of the graph and its subgraphs, in graph order."""
    return tuple(
        LayerPorts(
            node.metadata_props[LAYER],
            node.metadata_props[LAYER_INPUT],
            node.outputs[0],
            node.metadata_props.get(LAYER_RESIDUAL),
        )
        for node in model.graph.all_nodes()
        if LAYER in node.metadata_props and LAYER_INPUT in node.metadata_props
    )


def nodes_of(model: ir.Model) -> dict[str, list[ir.Node]]:
    """Layer name to its marked nodes, in graph order."""
    found: dict[str, list[ir.Node]] = {}
    for node in model.graph.all_nodes():
        if LAYER in node.metadata_props:
            found.setdefault(node.metadata_props[LAYER], []).append(node)
    return found
