"""The structured layers of a portable model: nodes of domain ``ai.blast`` on constant factors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.identity import LAYER
from blast_deploy.structures.blast.matrix import BlastMatrix, check_shapes
from blast_deploy.structures.contract import (
    BLAST_LINEAR,
    DOMAIN,
    DOMAIN_VERSION,
    GBLR_LINEAR,
    OPERATORS,
    Q_BLAST_LINEAR,
    Input,
    Operator,
)
from blast_deploy.structures.gblr.intervals import IntervalFactor, check_factor
from blast_deploy.structures.gblr.matrix import GblrMatrix
from blast_deploy.structures.quantized_blast.matrix import (
    Activation,
    QuantizedBlastMatrix,
    check_activation,
    check_quantized_shapes,
)

LAYER_OPERATORS = {operator.name: operator for operator in (BLAST_LINEAR, Q_BLAST_LINEAR, GBLR_LINEAR)}
"""The operators that are structured layers of a portable model."""


@dataclass(frozen=True)
class Quantisation:
    """How a ``QBlastLinear`` node is quantised; its attributes, the sizes aside.

    Attributes:
        bits: Of each value of Uq and Vq.
        u_block_size: Values of a row of Uq that share a scale.
        v_block_size: Values of a row of Vq that share a scale.
        activation: Whether X and the inner vector are quantised too.
    """

    bits: int
    u_block_size: int
    v_block_size: int
    activation: Activation


@dataclass(frozen=True)
class Intervals:
    """How much of its axes the components of a ``GblrLinear`` node cover.

    Attributes:
        components: K.
        u_values: Values of all left vectors together.
        v_values: Values of all right vectors together.
    """

    components: int
    u_values: int
    v_values: int


@dataclass(frozen=True)
class StructuredLayer:
    """One ``BlastLinear``, ``QBlastLinear`` or ``GblrLinear`` node of domain ``ai.blast``, checked.

    Attributes:
        name: Unique in the model.
        node: The node; its inputs are those of the contract.
        out_features: Width m of the output.
        in_features: Width n of the input.
        blocks: b1 and b2; one block where it is GBLR, which written out is low-rank.
        rank: r; the components where it is GBLR.
        element_type: Element type of X, Y and the bias, and of factors that are not quantised.
        quantisation: How it is quantised; None where it is not.
        intervals: What its components cover where it is GBLR; None where it is not.
    """

    name: str
    node: ir.Node
    out_features: int
    in_features: int
    blocks: tuple[int, int]
    rank: int
    element_type: ir.DataType
    quantisation: Quantisation | None = None
    intervals: Intervals | None = None

    @property
    def operator(self) -> Operator:
        """Its operator in domain ``ai.blast``."""
        return LAYER_OPERATORS[self.node.op_type]

    @property
    def attributes(self) -> dict[str, int | str]:
        """The node's attributes, the sizes aside."""
        return asdict(self.quantisation) if self.quantisation is not None else {}

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

    @property
    def factor_bytes(self) -> int:
        """Bytes of its factors and their scales in the file, padding included, the bias not."""
        return sum(_constant(self.node, index, self.name).nbytes for index in self._factors)

    def matrix(self) -> BlastMatrix:
        """Read BLAST factors, at their own dtype (float32 for bfloat16, float64 for quantised ones)."""
        return self.matrix_later()()

    def dense_later(self) -> Callable[[], NDArray[np.float64]]:
        """What multiplies the weight out when it is called, even after the layer's node has gone."""
        matrix = self.matrix_later() if self.intervals is None else self.gblr_later()
        return lambda: matrix().dense()

    def matrix_later(self) -> Callable[[], BlastMatrix]:
        """What reads BLAST factors when it is called, even after the layer's node has gone."""
        if self.intervals is not None:
            raise InvalidInputError(f"layer {self.name!r} is no BLAST layer; it is {self.node.op_type}")
        if self.quantisation is not None:
            quantized = self.quantized_later()
            return lambda: quantized().dequantize()
        u, s, v = (_constant(self.node, index, self.name) for index in self._factors)
        return lambda: BlastMatrix(_array(u), _array(s), _array(v), self.out_features, self.in_features)

    def quantized_later(self) -> Callable[[], QuantizedBlastMatrix]:
        """What reads the quantised factors when it is called, even after the layer's node has gone."""
        if self.quantisation is None:
            raise InvalidInputError(f"layer {self.name!r} is not quantised; it is {self.node.op_type}")
        names = [item.name for item in self.operator.inputs]
        tensors = {names[index]: _constant(self.node, index, self.name) for index in self._factors}
        return lambda: QuantizedBlastMatrix.from_operator(
            {name: _array(tensor) for name, tensor in tensors.items()},
            self.attributes,
            self.out_features,
            self.in_features,
        )

    def scales(self) -> tuple[NDArray[np.float32], ...]:
        """Read the scales of quantised factors; none where they are not quantised."""
        names = [item.name for item in self.operator.inputs]
        return tuple(
            _array(_constant(self.node, names.index(name), self.name))
            for name in ("U_scale", "V_scale")
            if name in names
        )

    def gblr_later(self) -> Callable[[], GblrMatrix]:
        """What reads GBLR factors when it is called, even after the layer's node has gone."""
        if self.intervals is None:
            raise InvalidInputError(f"layer {self.name!r} is no GBLR layer; it is {self.node.op_type}")
        parts = [_constant(self.node, index, self.name) for index in self._factors]

        def read() -> GblrMatrix:
            u, u_start, u_width, v, v_start, v_width = map(_array, parts)
            return GblrMatrix(
                IntervalFactor(u, u_start, u_width, self.out_features),
                IntervalFactor(v, v_start, v_width, self.in_features),
            )

        return read

    def bias(self) -> NDArray[Any]:
        """Read the bias (out_features,), at its own dtype (float32 for bfloat16)."""
        return _array(_constant(self.node, len(self.node.inputs) - 1, self.name))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Read all constant inputs by their names in the contract, 4 bits in int8."""
        names = [item.name for item in self.operator.inputs]
        return {
            names[index]: _array(_constant(self.node, index, self.name)) for index in range(1, len(names))
        }

    @property
    def _factors(self) -> range:
        return range(1, len(self.node.inputs) - 1)


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
    layers = tuple(_layer(node) for node in _blast_nodes(model) if node.op_type in LAYER_OPERATORS)
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
        if function.domain == DOMAIN and function.name in LAYER_OPERATORS:
            _check_body(function, LAYER_OPERATORS[function.name])
        if any(node.domain == DOMAIN for node in function.all_nodes()):
            raise InvalidInputError(
                f"function {function.domain}::{function.name} calls operators of domain {DOMAIN}, where they "
                "are no layers of the model; inline that function first"
            )


def _check_body(function: ir.Function, operator: Operator) -> None:
    found = len(function.inputs), len(function.outputs)
    needed = len(operator.inputs), len(operator.outputs)
    if found != needed:
        raise InvalidInputError(
            f"the body of {DOMAIN}::{function.name} must take {needed[0]} values and give {needed[1]} "
            f"(got {found[0]} and {found[1]}); export the model again"
        )


def _layer(node: ir.Node) -> StructuredLayer:
    name = node.metadata_props.get(LAYER) or node.name or node.outputs[0].name or ""
    inputs = LAYER_OPERATORS[node.op_type].inputs
    if len(node.inputs) != len(inputs):
        raise InvalidInputError(
            f"layer {name!r} must have {len(inputs)} inputs (got {len(node.inputs)}); "
            "give zeros where it has no bias"
        )
    if len(node.outputs) != 1:
        raise InvalidInputError(f"layer {name!r} must have one output (got {len(node.outputs)})")
    _given(node, 0, name)
    out_features, in_features = (_size(node, each, name) for each in ("out_features", "in_features"))
    tensors = {item.name: _constant(node, index, name) for index, item in enumerate(inputs) if index}
    shapes = {each: tuple(tensor.shape.numpy()) for each, tensor in tensors.items()}
    if node.op_type == GBLR_LINEAR.name:
        _check_bias(shapes["bias"], out_features, name)
        return _gblr_layer(node, name, tensors, (out_features, in_features))
    quantisation = _quantisation(node, name) if node.op_type == Q_BLAST_LINEAR.name else None
    try:
        if quantisation is None:
            check_shapes(shapes["U"], shapes["S"], shapes["V"], out_features, in_features)
        else:
            check_quantized_shapes(
                {each.lower(): shape for each, shape in shapes.items()},
                out_features,
                in_features,
                quantisation.bits,
                (quantisation.u_block_size, quantisation.v_block_size),
            )
    except InvalidInputError as error:
        raise InvalidInputError(f"layer {name!r} is no BLAST layer: {error}") from error
    _check_bias(shapes["bias"], out_features, name)
    element_type = _element_type(tensors, inputs, quantisation, name)
    left, right = [shapes[each] for each in (("U", "V") if quantisation is None else ("Uq", "Vq"))]
    return StructuredLayer(
        name, node, out_features, in_features, (left[0], right[0]), left[2], element_type, quantisation
    )


def _check_bias(shape: tuple[int, ...], out_features: int, name: str) -> None:
    if shape != (out_features,):
        raise InvalidInputError(f"bias of layer {name!r} must be ({out_features},) (got {shape})")


def _gblr_layer(
    node: ir.Node, name: str, tensors: dict[str, ir.TensorProtocol], sizes: tuple[int, int]
) -> StructuredLayer:
    element_type = _element_type(tensors, GBLR_LINEAR.inputs, None, name)
    values, components = {}, {}
    for side, size in zip("uv", sizes, strict=True):
        start, width = (_array(tensors[f"{side}_{part}"]) for part in ("start", "width"))
        values[side] = tuple(tensors[side].shape.numpy())
        components[side] = start.size
        try:
            check_factor(values[side], start, width, size)
        except InvalidInputError as error:
            raise InvalidInputError(f"{side} of layer {name!r} is no GBLR factor: {error}") from error
    if components["u"] != components["v"]:
        raise InvalidInputError(
            f"layer {name!r} must have as many u_start as v_start "
            f"(got {components['u']} and {components['v']})"
        )
    intervals = Intervals(components["u"], values["u"][0], values["v"][0])
    return StructuredLayer(
        name, node, *sizes, (1, 1), intervals.components, element_type, intervals=intervals
    )


def _quantisation(node: ir.Node, name: str) -> Quantisation:
    bits, u_block_size, v_block_size = (
        _size(node, each, name) for each in ("bits", "u_block_size", "v_block_size")
    )
    found = node.attributes.get("activation")
    if found is None or found.type != ir.AttributeType.STRING or found.is_ref():
        raise InvalidInputError(f"layer {name!r} must have the text attribute activation")
    try:
        return Quantisation(bits, u_block_size, v_block_size, check_activation(found.as_string()))
    except InvalidInputError as error:
        raise InvalidInputError(f"layer {name!r} is no BLAST layer: {error}") from error


_FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BFLOAT16}
_INTEGERS = {8: ir.DataType.INT8, 4: ir.DataType.INT4}


def _element_type(
    tensors: dict[str, ir.TensorProtocol],
    inputs: tuple[Input, ...],
    quantisation: Quantisation | None,
    name: str,
) -> ir.DataType:
    """The float type that a layer's tensors share, those of integers found right."""
    kinds = {item.name: item.type for item in inputs}
    floats = {tensor.dtype for each, tensor in tensors.items() if kinds[each] == "T"}
    allowed = _FLOATS if quantisation is None else {ir.DataType.FLOAT}
    if len(floats) != 1 or not floats <= allowed:
        found = ", ".join(sorted(dtype.name for dtype in floats))
        needed = "share one float type" if quantisation is None else "be FLOAT"
        raise InvalidInputError(f"factors and bias of layer {name!r} must {needed} (got {found})")
    for each, tensor in tensors.items():
        if quantisation is None or kinds[each] == "T":
            continue
        integer = _INTEGERS[quantisation.bits] if kinds[each] == "Q" else ir.DataType.INT8
        if tensor.dtype != integer:
            raise InvalidInputError(
                f"{each} of layer {name!r} must be {integer.name} for {quantisation.bits} bits "
                f"(got {tensor.dtype.name})"
            )
    return floats.pop()


def _given(node: ir.Node, index: int, layer: str) -> ir.Value:
    value = node.inputs[index]
    if value is None:
        raise InvalidInputError(f"input {_input_name(node, index)} of layer {layer!r} is missing")
    return value


def _constant(node: ir.Node, index: int, layer: str) -> ir.TensorProtocol:
    value = _given(node, index, layer)
    tensor = None if value.is_graph_input() else ir.convenience.get_const_tensor(value)
    if tensor is None:
        raise InvalidInputError(
            f"{_input_name(node, index)} of layer {layer!r} must be a constant "
            f"(got {value.name!r}, which is computed or fed); fold constants before compiling"
        )
    return tensor


def _input_name(node: ir.Node, index: int) -> str:
    return LAYER_OPERATORS[node.op_type].inputs[index].name


def _size(node: ir.Node, attribute: str, layer: str) -> int:
    found = node.attributes.get(attribute)
    if found is None or found.type != ir.AttributeType.INT or found.is_ref():
        raise InvalidInputError(f"layer {layer!r} must have the integer attribute {attribute}")
    return found.as_int()


def _array(tensor: ir.TensorProtocol) -> NDArray[Any]:
    """Read a tensor; what NumPy lacks comes in the next wider type of its kind."""
    array: NDArray[Any] = tensor.numpy()
    wider = {ir.DataType.BFLOAT16: np.float32, ir.DataType.INT4: np.int8}.get(tensor.dtype)
    return array if wider is None else array.astype(wider)
