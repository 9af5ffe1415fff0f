"""Packed layers that read the same input, computed by one node."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from blast_deploy.passes.identity import layer_of, mark_group
from blast_deploy.structures.contract import BLAST_LINEAR_GROUP_PACKED, BLAST_LINEAR_PACKED, DOMAIN

_SHARED = (
    *("in_features", "blocks_in", "layout_version", "instruction_set"),
    *("largest_tile_rows", "smallest_share_bytes", "smallest_share_operations"),
)
_OWN = ("out_features", "blocks_out", "rank")
_INPUTS = 3
"""X, factors and bias: a node with more adds a residual."""
_MOST_LAYERS = 64
"""What the operator library's shape inference can tell of one node."""
_MOST_BYTES = 4_000_000


class GroupLayers(ir.passes.InPlacePass):
    """Turn ``BlastLinearPacked`` nodes of one input, such as q, k and v, into a ``BlastLinearGroupPacked``.

    They need the same width and number of block columns, one element type and instruction set, and constant
    factors, and may add no residual. Each output keeps its name and every bit of its values.

    A group saves the dispatch of its other nodes, and threads wait for each other twice in all: microseconds,
    so only layers of at most 4 MB of factors together are grouped. Time of three layers over that of their
    group at 1, 16 and 128 rows (float, AMD EPYC with AVX-512, 2 cores; one thread: medians of CPU time; two:
    minima of wall time, because others used the machine, which also moves the large layers' by a tenth):

    ======================= ====== ================ ================
    layers                  MB     one thread       two threads
    ======================= ====== ================ ================
    384 x 384, rank 94      0.9    1.05, 1.02, 1.00 1.56, 1.07, 1.07
    768 x 768, rank 190     3.6    1.04, 1.02, 0.98 1.28, 1.08, 1.10
    1536 x 1536, rank 380   14     0.87, 0.87, 0.95 1.04, 1.00, 0.80
    4096 x 4096, rank 992   100    0.99, 1.14, 1.02 1.05, 1.07, 1.04
    ======================= ====== ================ ================
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Group the layers, each group where the first of its nodes stood."""
        candidates: dict[tuple[object, ...], list[ir.Node]] = {}
        for node in model.graph.all_nodes():
            if _can_be_grouped(node):
                candidates.setdefault(_key(node), []).append(node)
        groups = [nodes for nodes in candidates.values() if len(nodes) > 1 and _pays(nodes)]
        for nodes in groups:
            _group(nodes)
        return ir.passes.PassResult(model, modified=bool(groups))


def _can_be_grouped(node: ir.Node) -> bool:
    """Whether nothing but X has to be computed before the node can stand anywhere."""
    if (node.domain, node.op_type) != (DOMAIN, BLAST_LINEAR_PACKED.name) or len(node.inputs) != _INPUTS:
        return False
    return all(value is not None and value.is_initializer() for value in node.inputs[1:])


def _key(node: ir.Node) -> tuple[object, ...]:
    """What layers of a group have in common."""
    shared = (node.attributes[name].value for name in _SHARED)
    factors = node.inputs[1]
    return id(node.graph), id(node.inputs[0]), None if factors is None else factors.dtype, *shared


def _pays(nodes: Sequence[ir.Node]) -> bool:
    factors = [node.inputs[1] for node in nodes]
    tensors = [value.const_value for value in factors if value is not None and value.const_value is not None]
    return len(nodes) <= _MOST_LAYERS and sum(tensor.nbytes for tensor in tensors) <= _MOST_BYTES


def _group(nodes: Sequence[ir.Node]) -> None:
    first = nodes[0]
    graph = first.graph
    assert isinstance(graph, ir.Graph)
    layers = [layer_of(node) for node in nodes]
    attributes: dict[str, int | str | list[int]] = {name: first.attributes[name].value for name in _SHARED}
    for name in _OWN:
        attributes[name] = [node.attributes[name].as_int() for node in nodes]
    attributes["activation"] = ",".join(_activation(node) for node in nodes)
    group = ir.node(
        BLAST_LINEAR_GROUP_PACKED.name,
        [first.inputs[0], *(value for node in nodes for value in node.inputs[1:])],
        attributes,
        domain=DOMAIN,
        name=" + ".join(layers),
        num_outputs=len(nodes),
    )
    mark_group(group, layers)
    outputs = [node.outputs[0] for node in nodes]
    ir.convenience.replace_nodes_and_values(graph, first, nodes, [group], outputs, group.outputs)


def _activation(node: ir.Node) -> str:
    attribute = node.attributes.get("activation")
    return "none" if attribute is None else attribute.as_string()
