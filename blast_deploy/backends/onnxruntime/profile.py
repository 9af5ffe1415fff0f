"""What ran, read from ONNX Runtime's profile: every supported version writes one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from blast_deploy.backends.onnxruntime.nodes import LayerNodes
from blast_deploy.runner import FUNCTION_BODY

_SUFFIX = "_kernel_time"
_INLINED = "_inlfunc_"


def read_profile(path: Path) -> dict[str, str]:
    """Node name to operator type of every node that the runtime executed."""
    return {
        event["name"].removesuffix(_SUFFIX): event["args"]["op_name"]
        for event in json.loads(path.read_text())
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX)
    }


def operators_of(layers: Mapping[str, LayerNodes], ran: Mapping[str, str]) -> dict[str, str]:
    """Layer to the operator type that computed it; layers without a trace are left out.

    Args:
        layers: Each layer's nodes in the model file.
        ran: Node name to operator type, as executed.
    """
    found = {name: _operator_of(nodes, ran) for name, nodes in layers.items()}
    return {name: operator for name, operator in found.items() if operator is not None}


def _operator_of(nodes: LayerNodes, ran: Mapping[str, str]) -> str | None:
    for name in nodes.names:
        if name in ran:
            return ran[name]
    # The runtime inlines a function that it has no kernel for, and its nodes lose the caller's name.
    if nodes.is_function and any(name.startswith(_INLINED) for name in ran):
        return FUNCTION_BODY
    # A fused node is named after the first of those it replaces.
    for name in nodes.names:
        for other, operator in ran.items():
            if other.startswith(f"{name}/"):
                return operator
    return None
