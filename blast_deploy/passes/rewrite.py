"""Replacing a layer's node by others, so that nothing else in the model notices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.identity import mark
from blast_deploy.passes.structured import LAYER_OPERATORS, StructuredLayer
from blast_deploy.structures.contract import DOMAIN


def replace_layer(layer: StructuredLayer, nodes: Sequence[ir.Node]) -> None:
    """Put nodes in the place of a layer's node and mark them as the layer.

    The layer's output keeps its name, type and shape; factors that nothing else reads are removed.

    Args:
        layer: The layer, its node still in a graph.
        nodes: What computes it now, in order; the last one's first output is the layer's output.
    """
    graph, old = _graph_of(layer.node), layer.node
    factors = old.inputs[1:]
    mark(nodes, layer.name, layer.input.name or "")
    ir.convenience.replace_nodes_and_values(graph, old, [old], nodes, old.outputs, nodes[-1].outputs[:1])
    for value in factors:
        if value is not None:
            _drop_unused(value)


def add_initializer(
    layer: StructuredLayer,
    suffix: str,
    dtype: ir.DataType,
    shape: tuple[int, ...],
    make: Callable[[], NDArray[Any]],
) -> ir.Value:
    """Give a layer's graph the initialiser ``<layer>.<suffix>``.

    A factor of the layer itself that has the name makes way for it.

    Args:
        layer: The layer.
        suffix: What follows its name.
        dtype: Element type of the initialiser.
        shape: Its shape.
        make: Makes its values, each time that they are read or written: a large model's new weights are never
            all in memory together.

    Raises:
        InvalidInputError: If the name is taken.
    """
    graph, name = _graph_of(layer.node), f"{layer.name}.{suffix}"
    own = [value for value in layer.node.inputs[1:] if value is not None and value.name == name]
    if own and f"{name}.replaced" not in graph.initializers:
        own[0].name = f"{name}.replaced"
    if name in graph.initializers:
        raise InvalidInputError(f"the model has an initialiser {name!r} already; rename it")
    tensor = ir.LazyTensor(lambda: ir.Tensor(make(), name=name), dtype, ir.Shape(shape), name=name)
    value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def drop_unused_bodies(model: ir.Model) -> None:
    """Remove the function bodies of layers that no node calls any more."""
    called = {node.op_identifier() for node in model.graph.all_nodes()}
    for name in LAYER_OPERATORS:
        key = (DOMAIN, name, "")
        if key in model.functions and key not in called:
            del model.functions[key]


def _graph_of(node: ir.Node) -> ir.Graph:
    graph = node.graph
    if not isinstance(graph, ir.Graph):
        raise InvalidInputError(f"node {node.name!r} stands in no graph; inline the function that holds it")
    return graph


def _drop_unused(value: ir.Value) -> None:
    graph = value.graph
    if value.uses() or value.is_graph_output() or value.is_graph_input() or graph is None:
        return
    if value.is_initializer() and value.name is not None:
        del graph.initializers[value.name]
