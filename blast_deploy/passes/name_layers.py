"""Name each structured layer after the module it came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container

import onnx_ir as ir

from blast_deploy.passes.identity import LAYER, mark
from blast_deploy.passes.structured import LAYER_OPERATORS
from blast_deploy.structures.contract import DOMAIN

_ROOT = "layer"


class NameLayers(ir.passes.InPlacePass):
    """Name ``BlastLinear`` and ``QBlastLinear`` nodes by their parameters, and mark them as layers.

    A node whose factor U is the initialiser ``encoder.query.U`` becomes layer ``encoder.query``: node name
    and metadata (see ``identity.py``), output value ``encoder.query.output`` unless it is an output of the
    graph or another value has that name. Constants beside them become ``encoder.query.bias`` and so on. A
    layer that shares its U with another is named by the first factor that is its own. Where one module is
    called several times, the second call is ``encoder.query#2``. Layers that have a mark already are left
    alone.
    """

    def __init__(self, prefix: str = "") -> None:
        """Make the pass.

        Args:
            prefix: What to take off the front of every initialiser's name, such as ``"model."``.
        """
        super().__init__()
        self.prefix = prefix

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Name the layers."""
        modified = self._strip_prefix(model.graph)
        taken = {value.name for node in model.graph.all_nodes() for value in node.outputs}
        calls: Counter[str] = Counter()
        for node in model.graph.all_nodes():
            if node.domain != DOMAIN or node.op_type not in LAYER_OPERATORS or LAYER in node.metadata_props:
                continue
            module = _module_name(node)
            calls[module] += 1
            _name(node, module if calls[module] == 1 else f"{module}#{calls[module]}", taken)
            modified = True
        return ir.passes.PassResult(model, modified)

    def _strip_prefix(self, graph: ir.Graph) -> bool:
        if not self.prefix:
            return False
        values = [value for name, value in graph.initializers.items() if name.startswith(self.prefix)]
        for value in values:
            value.name = (value.name or "").removeprefix(self.prefix)
        return bool(values)


def _module_name(node: ir.Node) -> str:
    parameters = LAYER_OPERATORS[node.op_type].inputs[1:]
    # Layers without any component have equal factors, and nothing but a bias of their own.
    last = None if _is_empty(node.inputs[1]) else -1
    factors = list(zip(parameters[:last], node.inputs[1:], strict=False))
    own = [pair for pair in factors if pair[1] is not None and len(pair[1].uses()) == 1]
    for parameter, factor in own or factors[:1]:
        name = (factor.name if factor is not None else None) or ""
        if name == parameter.name:
            return _ROOT
        if name.endswith(f".{parameter.name}"):
            return name.removesuffix(f".{parameter.name}")
    return node.name or node.outputs[0].name or _ROOT


def _is_empty(value: ir.Value | None) -> bool:
    return value is not None and value.shape is not None and 0 in value.shape


def _name(node: ir.Node, name: str, taken: Container[str | None]) -> None:
    node.name = name
    entering, output = node.inputs[0], node.outputs[0]
    if not output.is_graph_output() and f"{name}.output" not in taken:
        output.name = f"{name}.output"
    for parameter, value in zip(LAYER_OPERATORS[node.op_type].inputs[1:], node.inputs[1:], strict=False):
        if value is not None and value.is_initializer() and len(value.uses()) == 1:
            _rename(value, f"{name}.{parameter.name}")
    factor = node.inputs[1]
    if output.type is None and factor is not None:
        output.type = factor.type
    mark([node], name, (entering.name if entering is not None else None) or "")


def _rename(value: ir.Value, name: str) -> None:
    """Rename an initialiser, unless another has the name."""
    if value.graph is not None and name not in value.graph.initializers:
        value.name = name
