"""Which nodes of the lowered model stand for a structured layer, and what came of them when it ran."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from blast_deploy.passes.identity import LAYER, nodes_of
from blast_deploy.runner import FUNCTION_BODY
from blast_deploy.structures.contract import DOMAIN

_EVENT = "_kernel_time"
_INLINED = "_inlfunc_"


@dataclass(frozen=True)
class LayerNodes:
    """The nodes of one layer in the model file.

    Attributes:
        main: Whether one of them bears the layer's name: the layer's operator, or its MatMul. An inlined
            body has none.
        names: Names of all of them.
        calls_function: Whether the model holds a function of the same name as the layer's operator.
    """

    main: bool
    names: tuple[str, ...]
    calls_function: bool


def find_nodes(model: ir.Model) -> dict[str, LayerNodes]:
    """Layer name to its nodes; a node of domain ``ai.blast`` that no layer claims is one by itself."""
    layers = nodes_of(model)
    for node in model.graph.all_nodes():
        if node.domain == DOMAIN and LAYER not in node.metadata_props:
            layers.setdefault(node.name or node.outputs[0].name or "", []).append(node)
    return {
        layer: LayerNodes(
            main=any(node.name == layer for node in nodes),
            names=tuple(node.name or "" for node in nodes),
            calls_function=any(node.op_identifier() in model.functions for node in nodes),
        )
        for layer, nodes in layers.items()
    }


def read_profile(path: Path) -> dict[str, str]:
    """Node name to operator type of every node that ONNX Runtime executed; every version writes this."""
    return {
        event["name"].removesuffix(_EVENT): event["args"]["op_name"]
        for event in json.loads(path.read_text())
        if event.get("cat") == "Node" and event["name"].endswith(_EVENT)
    }


def operators_of(layers: Mapping[str, LayerNodes], ran: Mapping[str, str]) -> dict[str, str]:
    """Layer to the operator type that computed it; layers of which nothing ran are left out.

    Args:
        layers: Each layer's nodes in the model file.
        ran: Node name to operator type, as executed.
    """
    found = {layer: _operator_of(layer, nodes, ran) for layer, nodes in layers.items()}
    return {layer: operator for layer, operator in found.items() if operator is not None}


def _operator_of(layer: str, nodes: LayerNodes, ran: Mapping[str, str]) -> str | None:
    if not nodes.main:
        return FUNCTION_BODY if any(name in ran for name in nodes.names) else None
    if layer in ran:
        return ran[layer]
    if nodes.calls_function:
        # The runtime inlines a function that it has no kernel for, and its nodes lose the caller's name.
        return FUNCTION_BODY if any(name.startswith(_INLINED) for name in ran) else None
    # A fused node is named after the first that it replaces, and what was done to it.
    fused = (operator for name, operator in ran.items() if name.startswith((f"{layer}/", f"{layer}_")))
    return next(fused, None)
