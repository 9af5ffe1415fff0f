"""A swap of the last two axes that is written as reshapes around a transposition, as one Transpose."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

Parts = tuple[int | None, ...]
"""The axes of a target shape: each an axis of the value that is reshaped, or None for what is left (-1)."""


class SwapLastAxes(ir.passes.InPlacePass):
    """Undo how torch's exporter transposes the keys of attention.

    It joins all leading axes, swaps the other two and splits the leading ones again, each target shape
    computed at run time: some ten nodes, and copies that a runtime cannot merge with its neighbours.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace every such chain by one Transpose."""
        chains = [found for node in model.graph if (found := _chain(node)) is not None]
        for value, last in chains:
            _replace(value, last)
        if chains:
            RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=bool(chains))


def _chain(swap: ir.Node) -> tuple[ir.Value, ir.Node] | None:
    """The value that enters the reshapes around a Transpose, and the last of them, if they swap its axes."""
    permutation = swap.attributes.get("perm")
    if swap.op_type != "Transpose" or permutation is None or tuple(permutation.as_ints()) != (0, 2, 1):
        return None
    joined, swapped = swap.inputs[0], swap.outputs[0]
    join = None if joined is None else joined.producer()
    readers = [node for node, _ in swapped.uses()]
    if join is None or len(readers) != 1 or swapped.is_graph_output():
        return None
    split = readers[0]
    value = join.inputs[0] if join.op_type == "Reshape" else None
    if value is None or value.shape is None or split.op_type != "Reshape" or split.inputs[0] is not swapped:
        return None
    rank = len(value.shape)
    leading = tuple(range(rank - 2))
    joins = _parts(join.inputs[1], value, rank) == (None, rank - 2, rank - 1)
    splits = _parts(split.inputs[1], value, rank) == (*leading, rank - 1, rank - 2)
    return (value, split) if joins and splits else None


def _parts(target: ir.Value | None, value: ir.Value, rank: int) -> Parts | None:
    """Which axes of a value a target shape is put together from; None where that cannot be told."""
    node = None if target is None else target.producer()
    if node is None or node.op_type != "Concat":
        return None
    parts: list[int | None] = []
    for piece in node.inputs:
        axes = _axes(piece, value, rank)
        if axes is None:
            return None
        parts += axes
    return tuple(parts)


def _axes(piece: ir.Value | None, value: ir.Value, rank: int) -> Parts | None:
    if piece is None:
        return None
    if _integers(piece) == (-1,):
        return (None,)
    node = piece.producer()
    if node is None or node.op_type != "Slice" or len(node.inputs) != 3:
        return None
    shape, (first, last) = node.inputs[0], (_integers(each) for each in node.inputs[1:])
    source = None if shape is None else shape.producer()
    if source is None or source.op_type != "Shape" or source.inputs[0] is not value or first is None:
        return None
    is_whole = source.attributes.get_int("start", 0) == 0 and "end" not in source.attributes
    if not is_whole or last is None or len(first) != 1 or len(last) != 1:
        return None
    return tuple(range(rank)[first[0] : last[0]])


def _integers(value: ir.Value | None) -> tuple[int, ...] | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.size > 1 or tensor.dtype != ir.DataType.INT64:
        return None
    return tuple(int(each) for each in tensor.numpy().reshape(-1))


def _replace(value: ir.Value, last: ir.Node) -> None:
    assert value.shape is not None
    assert isinstance(last.graph, ir.Graph)
    rank = len(value.shape)
    swap = ir.node("Transpose", [value], {"perm": [*range(rank - 2), rank - 1, rank - 2]})
    axes = list(value.shape)
    swap.outputs[0].shape = ir.Shape([*axes[:-2], axes[-1], axes[-2]])
    swap.outputs[0].type = last.outputs[0].type
    ir.convenience.replace_nodes_and_values(last.graph, last, [last], [swap], last.outputs, swap.outputs)
