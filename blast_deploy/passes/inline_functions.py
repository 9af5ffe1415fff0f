"""Function bodies in the place of the nodes that call them."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.bodies import body as body_of
from blast_deploy.passes.identity import mark, nodes_of
from blast_deploy.passes.rewrite import drop_unused_bodies
from blast_deploy.passes.structured import StructuredLayer, select, structured_layers

_OVERLOAD = "inlined"


class InlineFunctions(ir.passes.InPlacePass):
    """Replace structured layers by the standard operators of their function body.

    For tools that know no model-local functions, and for layers that must not run the library's kernel. The
    nodes and values of layer ``query`` are named ``query/...``; all nodes carry the layer's mark.
    """

    def __init__(self, layers: Collection[str]) -> None:
        """Make the pass for the layers of these names."""
        super().__init__()
        self.layers = layers

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Inline the layers' bodies.

        Raises:
            InvalidInputError: If there is no such layer, or the model lacks a body of its operator.
        """
        chosen = select(structured_layers(model), self.layers)
        for layer in chosen:
            _call_overload(model, layer)
        inputs = {layer.name: layer.input.name or "" for layer in chosen}
        outputs = {layer.name: layer.output.name for layer in chosen}
        result = InlinePass(criteria=lambda function: function.overload == _OVERLOAD)(model)
        for name, nodes in nodes_of(model).items():
            if name in inputs:
                _name(nodes, name, inputs[name], outputs[name])
        drop_unused_bodies(model)
        return ir.passes.PassResult(model, modified=result.modified)


def _call_overload(model: ir.Model, layer: StructuredLayer) -> None:
    """Let a layer's node call a copy of the body under an overload of its own, which is then inlined.

    The inliner chooses by function, not by node.
    """
    key = layer.node.op_identifier()
    body = model.functions.get(key) or body_of(layer.node.op_type)
    if body.opset_imports[""] != model.opset_imports.get(""):
        raise InvalidInputError(
            f"the body of {layer.node.op_type} is written in opset {body.opset_imports['']} and the model in "
            f"opset {model.opset_imports.get('')}, so it cannot be inlined; export the model again"
        )
    # The inliner copies the mark to every node of the body.
    mark([layer.node], layer.name, layer.input.name or "")
    layer.node.overload = _OVERLOAD
    copied = (key[0], key[1], _OVERLOAD)
    if copied not in model.functions:
        overload = body.clone()
        overload.overload = _OVERLOAD
        model.functions[copied] = overload


def _name(nodes: list[ir.Node], layer: str, input_name: str, output: str | None) -> None:
    for node in nodes:
        node.name = f"{layer}/{node.name}"
        for value in node.outputs:
            if value.name != output:
                value.name = f"{layer}/{value.name}"
    # The mark says that the last node gives the layer's output.
    mark(sorted(nodes, key=lambda node: node.outputs[0].name == output), layer, input_name)
