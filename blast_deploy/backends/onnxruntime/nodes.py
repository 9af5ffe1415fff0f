"""Which nodes of the lowered model stand for a structured layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from blast_deploy.artifact import LayerRecord


@dataclass(frozen=True)
class LayerNodes:
    """The nodes of one layer.

    Attributes:
        names: Node names, the one whose output is the layer's last.
        is_function: Whether it is one node that calls a model-local function.
    """

    names: tuple[str, ...]
    is_function: bool


def find_nodes(path: Path, layers: Sequence[LayerRecord]) -> dict[str, LayerNodes]:
    """Find each layer's nodes by the values that enter and leave it; absent ones are left out."""
    model = onnx.load(path, load_external_data=False)
    producers = {name: node for node in model.graph.node for name in node.output}
    functions = {(function.domain, function.name) for function in model.functions}
    found = {}
    for layer in layers:
        nodes = _between(layer, producers)
        if nodes:
            is_function = any((node.domain, node.op_type) in functions for node in nodes)
            found[layer.name] = LayerNodes(tuple(node.name for node in nodes), is_function)
    return found


def _between(layer: LayerRecord, producers: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes on the way back from the layer's output to its input, that next to the input first."""
    nodes: list[onnx.NodeProto] = []
    value = layer.output
    while value != layer.input and value in producers:
        nodes.insert(0, producers[value])
        value = producers[value].input[0]
    return nodes if value == layer.input else []
