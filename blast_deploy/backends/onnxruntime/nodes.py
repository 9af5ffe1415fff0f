"""Which nodes of the lowered model stand for a structured layer, and what came of them when it ran."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from blast_deploy.passes.identity import layers_of, nodes_of
from blast_deploy.runner import FUNCTION_BODY
from blast_deploy.runtime import CPU
from blast_deploy.structures.contract import DOMAIN

_EVENT = "_kernel_time"
_INLINED = "_inlfunc_"
_FUSED = "fused "
_NAMELESS = "gemm"


@dataclass(frozen=True)
class LayerNodes:
    """The nodes of one layer in the model file.

    Attributes:
        main: Whether one of them bears the layer's name: the layer's operator, or its MatMul. An inlined
            body has none.
        names: Names of all of them.
        calls_function: Whether the model holds a function of the same name as the layer's operator.
        group: Name of the node that computes the layer together with others; empty where it has its own.
    """

    main: bool
    names: tuple[str, ...]
    calls_function: bool
    group: str = ""


@dataclass(frozen=True)
class RanNode:
    """A node as the runtime has it.

    Attributes:
        operator: Its operator type.
        provider: The execution provider that computes it.
    """

    operator: str
    provider: str = CPU


def find_nodes(model: ir.Model) -> dict[str, LayerNodes]:
    """Layer name to its nodes; a node of domain ``ai.blast`` that no layer claims is one by itself."""
    layers = nodes_of(model)
    for node in model.graph.all_nodes():
        if node.domain == DOMAIN and not layers_of(node):
            layers.setdefault(node.name or node.outputs[0].name or "", []).append(node)
    return {
        layer: LayerNodes(
            main=any(node.name == layer or len(layers_of(node)) > 1 for node in nodes),
            names=tuple(node.name or "" for node in nodes),
            calls_function=any(node.op_identifier() in model.functions for node in nodes),
            group=next((node.name or "" for node in nodes if len(layers_of(node)) > 1), ""),
        )
        for layer, nodes in layers.items()
    }


def read_assignment(session: Any) -> dict[str, RanNode] | None:
    """Node name to what a session decided about it; None where the runtime (before 1.24) cannot say.

    Args:
        session: Made with ``session.record_ep_graph_assignment_info``.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    return {
        node.name: RanNode(node.op_type, part.ep_name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    }


def read_profile(path: Path) -> dict[str, RanNode]:
    """Node name to what ONNX Runtime executed; every version writes this."""
    return {
        event["name"].removesuffix(_EVENT): RanNode(event["args"]["op_name"], event["args"]["provider"])
        for event in json.loads(path.read_text())
        if event.get("cat") == "Node" and event["name"].endswith(_EVENT)
    }


def operators_of(layers: Mapping[str, LayerNodes], ran: Mapping[str, RanNode]) -> dict[str, str]:
    """Layer to the operator type that computed it; layers of which nothing ran are left out.

    Args:
        layers: Each layer's nodes in the model file.
        ran: Node name to what the runtime has of it.

    Returns:
        Layer to operator type, ``FUNCTION_BODY`` where standard operators stood in for it; followed by the
        provider where anything of the layer was computed by another than the CPU's.
    """
    found = {layer: _described(layer, nodes, ran) for layer, nodes in layers.items()}
    return {layer: operator for layer, operator in found.items() if operator is not None}


def _described(layer: str, nodes: LayerNodes, ran: Mapping[str, RanNode]) -> str | None:
    parts = _parts_of(layer, nodes, ran)
    if not parts:
        return None
    one_operator = nodes.main and not (nodes.calls_function and layer not in ran)
    operator = parts[0].operator if one_operator else FUNCTION_BODY
    elsewhere = [part.provider for part in parts if part.provider != CPU]
    return f"{operator} on {elsewhere[0]}" if elsewhere else operator


def _parts_of(layer: str, nodes: LayerNodes, ran: Mapping[str, RanNode]) -> Sequence[RanNode]:
    """What computed a layer; where one operator does, that comes first."""
    if not nodes.main:
        return [ran[name] for name in nodes.names if name in ran]
    if nodes.group:
        return [ran[nodes.group]] if nodes.group in ran else []
    if layer in ran:
        return [ran[layer], *(ran[name] for name in nodes.names if name in ran)]
    if nodes.calls_function:
        # The runtime inlines a function that it has no kernel for, and its nodes lose the caller's name.
        return [node for name, node in ran.items() if name.startswith(_INLINED)]
    # A fused node is named after the first that it replaces, and what was done to it; 1.18 forgets the name.
    return _fused((f"{layer}/", f"{layer}_"), ran) or _fused((_NAMELESS,), ran)


def _fused(prefixes: tuple[str, ...], ran: Mapping[str, RanNode]) -> list[RanNode]:
    """Nodes so named, and those so named that were fused once more, with an activation."""
    return [node for name, node in ran.items() if name.removeprefix(_FUSED).startswith(prefixes)]
