"""The structured layers of a portable model: nodes of domain ``ai.blast`` on constant factors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.identity import LAYER
from blast_deploy.structures.blast.matrix import BlastMatrix, check_shapes
from blast_deploy.structures.contract import BLAST_LINEAR, DOMAIN, DOMAIN_VERSION, OPERATORS


@dataclass(frozen=True)
class StructuredLayer:
    """One ``ai.blast::BlastLinear`` node, checked.

    Attributes:
        name: Unique in the model.
        node: The node; its inputs are X, U, S, V and bias.
        out_features: Width m of the output.
        in_features: Width n of the input.
        blocks: b1 and b2.
        rank: r.
        element_type: Element type of X, Y, the factors and the bias.
    """

    name: str
    node: ir.Node
    out_features: int
    in_features: int
    blocks: tuple[int, int]
    rank: int
    element_type: ir.DataType

    @property
    def dtype(self) -> str:
        """Element type in NumPy's spelling."""
        return str(self.element_type.numpy().name)

    @property
    def input(self) -> ir.Value:
        """The value that enters the layer."""
        return _given(self.node, 0, self.name)

    @property
    def output(self) -> ir.Value:
        """The value that the layer gives."""
        return self.node.outputs[0]

    def matrix(self) -> BlastMatrix:
        """Read the factors, at their own dtype (float32 for bfloat16)."""
        return self.matrix_later()()

    def matrix_later(self) -> Callable[[], BlastMatrix]:
        """What reads the factors when it is called, even after the layer's node has gone."""
        u, s, v = (_constant(self.node, index, self.name) for index in (1, 2, 3))
        return lambda: BlastMatrix(_array(u), _array(s), _array(v), self.out_features, self.in_features)

    def bias(self) -> NDArray[Any]:
        """Read the bias (out_features,), at its own dtype (float32 for bfloat16)."""
        return _array(_constant(self.node, 4, self.name))


def structured_layers(model: ir.Model) -> tuple[StructuredLayer, ...]:
    """Find and check the structured layers of a model, in graph order.

    Layers that are packed already are not among them.

    Args:
        model: Its weights may lie in external data; only their shapes are read here.

    Raises:
        InvalidInputError: If the model uses another version of domain ``ai.blast``, an operator that is not
            in it, a layer whose factors are not constant or do not fit together, or a name twice.
    """
    _check_functions(model)
    layers = tuple(_layer(node) for node in _blast_nodes(model) if node.op_type == BLAST_LINEAR.name)
    names = [layer.name for layer in layers]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInputError(
                f"{names.count(name)} structured layers are named {name!r}; give each node a name of its own"
            )
    return layers


def select(layers: Iterable[StructuredLayer], names: Iterable[str]) -> tuple[StructuredLayer, ...]:
    """Pick layers by name, in the order of ``layers``.

    Raises:
        InvalidInputError: If there is no layer of some name.
    """
    by_name = {layer.name: layer for layer in layers}
    wanted = set(names)
    for name in sorted(wanted - by_name.keys()):
        known = ", ".join(list(by_name)[:3]) or "none"
        raise InvalidInputError(
            f"the model has no structured layer {name!r}; it has {len(by_name)} ({known}, ...)"
        )
    return tuple(layer for name, layer in by_name.items() if name in wanted)


def _blast_nodes(model: ir.Model) -> list[ir.Node]:
    nodes = [node for node in model.graph.all_nodes() if node.domain == DOMAIN]
    version = model.opset_imports.get(DOMAIN)
    if nodes and version != DOMAIN_VERSION:
        raise InvalidInputError(
            f"the model uses version {version} of operator domain {DOMAIN}, and this tool reads version "
            f"{DOMAIN_VERSION}; export it again or use the tool's matching version"
        )
    known = [operator.name for operator in OPERATORS]
    for node in nodes:
        if node.op_type not in known:
            raise InvalidInputError(
                f"operator {DOMAIN}::{node.op_type} of node {node.name!r} is not known; "
                f"version {DOMAIN_VERSION} has {', '.join(known)}"
            )
    return nodes


def _check_functions(model: ir.Model) -> None:
    for function in model.functions.values():
        if (function.domain, function.name) == (DOMAIN, BLAST_LINEAR.name):
            _check_body(function)
        if any(node.domain == DOMAIN for node in function.all_nodes()):
            raise InvalidInputError(
                f"function {function.domain}::{function.name} calls operators of domain {DOMAIN}, where they "
                "are no layers of the model; inline that function first"
            )


def _check_body(function: ir.Function) -> None:
    found = len(function.inputs), len(function.outputs)
    needed = len(BLAST_LINEAR.inputs), len(BLAST_LINEAR.outputs)
    if found != needed:
        raise InvalidInputError(
            f"the body of {DOMAIN}::{function.name} must take {needed[0]} values and give {needed[1]} "
            f"(got {found[0]} and {found[1]}); export the model again"
        )


def _layer(node: ir.Node) -> StructuredLayer:
    name = node.metadata_props.get(LAYER) or node.name or node.outputs[0].name or ""
    if len(node.inputs) != len(BLAST_LINEAR.inputs):
        raise InvalidInputError(
            f"layer {name!r} must have {len(BLAST_LINEAR.inputs)} inputs (got {len(node.inputs)}); "
            "give zeros where it has no bias"
        )
    if len(node.outputs) != 1:
        raise InvalidInputError(f"layer {name!r} must have one output (got {len(node.outputs)})")
    _given(node, 0, name)
    out_features, in_features = (_size(node, each, name) for each in ("out_features", "in_features"))
    u, s, v, bias = (_constant(node, index, name) for index in (1, 2, 3, 4))
    shapes = [tuple(tensor.shape.numpy()) for tensor in (u, s, v, bias)]
    try:
        check_shapes(shapes[0], shapes[1], shapes[2], out_features, in_features)
    except InvalidInputError as error:
        raise InvalidInputError(f"layer {name!r} is no BLAST layer: {error}") from error
    if shapes[3] != (out_features,):
        raise InvalidInputError(f"bias of layer {name!r} must be ({out_features},) (got {shapes[3]})")
    dtypes = {tensor.dtype for tensor in (u, s, v, bias)}
    if len(dtypes) != 1 or not dtypes <= _FLOATS:
        found = ", ".join(sorted(dtype.name for dtype in dtypes))
        raise InvalidInputError(f"factors and bias of layer {name!r} must share one float type (got {found})")
    blocks = shapes[0][0], shapes[2][0]
    return StructuredLayer(name, node, out_features, in_features, blocks, shapes[0][2], u.dtype)


_FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BFLOAT16}


def _given(node: ir.Node, index: int, layer: str) -> ir.Value:
    value = node.inputs[index]
    if value is None:
        raise InvalidInputError(f"input {BLAST_LINEAR.inputs[index].name} of layer {layer!r} is missing")
    return value


def _constant(node: ir.Node, index: int, layer: str) -> ir.TensorProtocol:
    value = _given(node, index, layer)
    tensor = None if value.is_graph_input() else ir.convenience.get_const_tensor(value)
    if tensor is None:
        raise InvalidInputError(
            f"{BLAST_LINEAR.inputs[index].name} of layer {layer!r} must be a constant "
            f"(got {value.name!r}, which is computed or fed); fold constants before compiling"
        )
    return tensor


def _size(node: ir.Node, attribute: str, layer: str) -> int:
    found = node.attributes.get(attribute)
    if found is None or found.type != ir.AttributeType.INT or found.is_ref():
        raise InvalidInputError(f"layer {layer!r} must have the integer attribute {attribute}")
    return found.as_int()


def _array(tensor: ir.TensorProtocol) -> NDArray[Any]:
    array: NDArray[Any] = tensor.numpy()
    return array.astype(np.float32) if tensor.dtype == ir.DataType.BFLOAT16 else array
