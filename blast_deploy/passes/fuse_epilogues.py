"""What a model does to a packed layer's output next, done by the layer itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import onnx_ir as ir

from blast_deploy.passes.identity import LAYER, LAYER_RESIDUAL
from blast_deploy.results import Activation, Epilogue
from blast_deploy.structures.contract import (
    BLAST_LINEAR_PACKED,
    DOMAIN,
    GBLR_LINEAR_PACKED,
    Q_BLAST_LINEAR_PACKED,
)

_ACTIVATION = "activation"
_PACKED = {operator.name for operator in (BLAST_LINEAR_PACKED, Q_BLAST_LINEAR_PACKED, GBLR_LINEAR_PACKED)}
"""Operators with the attribute and the optional input; they stand at the same place in all."""
_RESIDUAL = [value.name for value in BLAST_LINEAR_PACKED.inputs].index("residual")
_GELU: dict[str, Activation] = {"none": "gelu", "tanh": "gelu_tanh"}


class FuseEpilogues(ir.passes.InPlacePass):
    """Let packed nodes apply the activation function and add the residual that follow them.

    An activation is absorbed where it is all that reads the layer's output: Gelu, or a value times its
    Sigmoid (SiLU). A residual is absorbed where an Add is all that reads what the layer then gives, and both
    of its inputs are known to have one shape. ONNX Runtime would fuse that Add into SkipLayerNormalization,
    which takes several times as long as the kernel's store and LayerNormalization (docs/benchmarks.md).
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse what can be; shapes that are not known are not inferred here."""
        modified = False
        for node in list(_packed_nodes(model)):
            activated = _fuse_activation(node)
            fused = _fuse_residual(activated)
            modified |= fused is not node
        return ir.passes.PassResult(model, modified)


def epilogues_of(model: ir.Model) -> dict[str, Epilogue]:
    """Layer name to what its node does beside the layer; layers that do nothing else are left out."""
    found = {}
    for node in _packed_nodes(model):
        name = node.metadata_props.get(LAYER) or node.name or ""
        epilogue = Epilogue(_activation_of(node), len(node.inputs) > _RESIDUAL)
        if epilogue != Epilogue():
            found[name] = epilogue
    return found


def _packed_nodes(model: ir.Model) -> Iterator[ir.Node]:
    for node in model.graph.all_nodes():
        if node.domain == DOMAIN and node.op_type in _PACKED:
            yield node


def _activation_of(node: ir.Node) -> Activation:
    attribute = node.attributes.get(_ACTIVATION)
    return "none" if attribute is None else cast(Activation, attribute.as_string())


def _fuse_activation(node: ir.Node) -> ir.Node:
    """The node that stands for the layer afterwards: the same one where there was nothing to absorb."""
    output = node.outputs[0]
    if _activation_of(node) != "none" or output.is_graph_output():
        return node
    readers = _readers(output)
    if any(reader.graph is not node.graph for reader in readers):
        return node
    if len(readers) == 1 and _is(readers[0], "Gelu"):
        approximate = readers[0].attributes.get("approximate")
        name = "none" if approximate is None else approximate.as_string()
        return _absorb(node, [readers[0]], _GELU[name], ()) if name in _GELU else node
    product = _silu(output, readers)
    if product is not None:
        return _absorb(node, [reader for reader in readers if reader is not product] + [product], "silu", ())
    return node


def _silu(value: ir.Value, readers: list[ir.Node]) -> ir.Node | None:
    """The Mul that multiplies a value by its own Sigmoid, if that is all that reads it."""
    sigmoid = next((reader for reader in readers if _is(reader, "Sigmoid")), None)
    product = next((reader for reader in readers if _is(reader, "Mul")), None)
    if sigmoid is None or product is None or len(readers) != 2:
        return None
    inner = sigmoid.outputs[0]
    if inner.is_graph_output() or _readers(inner) != [product]:
        return None
    return product if {id(each) for each in product.inputs} == {id(value), id(inner)} else None


def _fuse_residual(node: ir.Node) -> ir.Node:
    output = node.outputs[0]
    readers = _readers(output)
    if len(node.inputs) > _RESIDUAL or output.is_graph_output() or len(readers) != 1:
        return node
    add = readers[0]
    if not _is(add, "Add") or add.graph is not node.graph:
        return node
    others = [each for each in add.inputs if each is not output]
    if len(others) != 1 or others[0] is None or not _same_shape(output, others[0]):
        return node
    return _absorb(node, [add], _activation_of(node), (others[0],))


def _absorb(
    node: ir.Node, absorbed: list[ir.Node], activation: Activation, residual: tuple[ir.Value, ...]
) -> ir.Node:
    """Put one node in the place of a layer's node and those that follow it; the last one's output stays."""
    graph, last = node.graph, absorbed[-1]
    assert isinstance(graph, ir.Graph)
    attributes = {name: value for name, value in node.attributes.items() if name != _ACTIVATION}
    fused = ir.Node(
        node.domain,
        node.op_type,
        [*node.inputs[:_RESIDUAL], *residual],
        [*attributes.values(), ir.AttrString(_ACTIVATION, activation)],
        name=node.name,
        metadata_props=dict(node.metadata_props),
    )
    if residual:
        fused.metadata_props[LAYER_RESIDUAL] = residual[0].name or ""
    fused.outputs[0].type = node.outputs[0].type
    old = [node, *absorbed]
    ir.convenience.replace_nodes_and_values(graph, last, old, [fused], last.outputs, fused.outputs)
    return fused


def _readers(value: ir.Value) -> list[ir.Node]:
    return list(dict.fromkeys(node for node, _ in value.uses()))


def _is(node: ir.Node, operator: str) -> bool:
    return node.op_type == operator and node.domain in ("", "ai.onnx")


def _same_shape(one: ir.Value, other: ir.Value) -> bool:
    """Whether both shapes are known and equal, axis by axis."""
    if one.shape is None or other.shape is None or len(one.shape) != len(other.shape):
        return False
    return all(_known(axis) and axis == its for axis, its in zip(one.shape, other.shape, strict=True))


def _known(axis: int | ir.SymbolicDim) -> bool:
    return isinstance(axis, int) or axis.value is not None
