"""A portable ONNX file, read with distrust: what goes in and out, its structured layers, its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from blast_deploy import reference
from blast_deploy.artifact import LayerRecord, Size
from blast_deploy.element_types import numpy_dtype
from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.load import load_model
from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.passes.seal import break_seal
from blast_deploy.passes.shapes import infer_shapes
from blast_deploy.passes.structured import StructuredLayer, structured_layers
from blast_deploy.planning.layer import LinearLayer, blast_layer, gblr_layer, quantized_blast_layer
from blast_deploy.results import TensorSpec
from blast_deploy.structures.quantized_blast.packing import scales_fit


@dataclass(frozen=True)
class PortableModel:
    """A portable file in memory, its weights still on disk.

    Attributes:
        path: The file.
        sha256: Its hash.
        graph: The model; passes may change it.
        layers: Its structured layers.
        inputs: What it takes.
        outputs: What it gives.
    """

    path: Path
    sha256: str
    graph: ir.Model
    layers: tuple[StructuredLayer, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the dynamic axes of the inputs, in order."""
        named = (axis for spec in self.inputs for axis in spec.shape if isinstance(axis, str))
        return tuple(dict.fromkeys(named))


def read_portable(path: str | Path) -> PortableModel:
    """Read an ONNX file.

    Raises:
        InvalidInputError: If it is missing or no ONNX model, if its external data is missing or outside its
            folder or not what export wrote, or if it holds element types that this tool does not handle.
    """
    file = Path(path)
    graph = load_model(file)
    try:
        break_seal(graph, file)
        _complete(graph)
        layers = structured_layers(graph)
        return PortableModel(
            path=file,
            sha256=reference.sha256(file),
            graph=graph,
            layers=layers,
            inputs=tuple(map(_spec, _real_inputs(graph))),
            outputs=tuple(map(_spec, graph.graph.outputs)),
        )
    except InvalidInputError as error:
        raise InvalidInputError(f"{file} cannot be compiled: {error}") from error


def linear_layer(layer: StructuredLayer) -> LinearLayer:
    """What the planner needs to know of a structured layer."""
    if layer.intervals is not None:
        return gblr_layer(
            layer.name,
            dtype=layer.dtype,
            out_features=layer.out_features,
            in_features=layer.in_features,
            components=layer.intervals.components,
            values=(layer.intervals.u_values, layer.intervals.v_values),
        )
    how = layer.quantisation
    if how is None:
        return blast_layer(
            layer.name,
            dtype=layer.dtype,
            out_features=layer.out_features,
            in_features=layer.in_features,
            blocks=layer.blocks,
            rank=layer.rank,
        )
    return quantized_blast_layer(
        layer.name,
        dtype=layer.dtype,
        out_features=layer.out_features,
        in_features=layer.in_features,
        blocks=layer.blocks,
        rank=layer.rank,
        bits=how.bits,
        block_sizes=(how.u_block_size, how.v_block_size),
        activation=how.activation,
        factor_bytes=layer.factor_bytes,
        scales_fit=scales_fit(how.bits, layer.scales()),
    )


def layer_record(layer: StructuredLayer) -> LayerRecord:
    """What an artifact remembers of a structured layer."""
    planned = linear_layer(layer)
    return LayerRecord(
        name=layer.name,
        operator=planned.operator,
        dtype=planned.dtype,
        out_features=layer.out_features,
        in_features=layer.in_features,
        description=planned.description,
        parameters=planned.weights,
        attributes=layer.attributes,
    )


def leading_axes(layer: StructuredLayer) -> tuple[int | str | None, ...] | None:
    """All axes of a layer's input but the last; None where its shape is unknown."""
    shape = layer.input.shape
    return None if shape is None else tuple(_axis(axis) for axis in shape)[:-1]


def sizes(model: PortableModel) -> tuple[Size, Size]:
    """Size of the model, and of the same with its structured layers multiplied out."""
    layers = [linear_layer(layer) for layer in model.layers]
    structured = [(layer.weights, layer.weight_bytes) for layer in layers]
    dense = [layer.out_features * layer.in_features for layer in layers]
    widths = [numpy_dtype(layer.dtype).itemsize for layer in layers]
    multiplied_out = [(count, count * width) for count, width in zip(dense, widths, strict=True)]
    return _size_with(structured, model), _size_with(multiplied_out, model)


def _size_with(layers: Sequence[tuple[int, int]], model: PortableModel) -> Size:
    """Size of a model with so many weights, and bytes of them, in each of its structured layers."""
    factors = {_name(value) for layer in model.layers for value in layer.node.inputs[1:-1]}
    initializers = model.graph.graph.initializers
    rest = [value.const_value for name, value in initializers.items() if name not in factors]
    tensors = [tensor for tensor in rest if tensor is not None]
    weights = sum(count for count, _ in layers)
    return Size(
        parameters=sum(tensor.size for tensor in tensors) + weights,
        bytes=sum(tensor.nbytes for tensor in tensors) + sum(size for _, size in layers),
        flops_per_row=_plain_flops(model.graph) + 2 * weights,
    )


def _plain_flops(graph: ir.Model) -> int:
    """Operations for one row in all products with a constant two-dimensional weight."""
    total = 0
    for node in graph.graph.all_nodes():
        if node.op_type not in ("MatMul", "Gemm") or node.domain not in ("", "ai.onnx"):
            continue
        weights = [value.const_value for value in node.inputs[:2] if value is not None]
        total += sum(2 * each.size for each in weights if each is not None and len(each.shape) == 2)
    return total


def _complete(graph: ir.Model) -> None:
    """Give layers the names, and values the shapes and types, that files of other tools may lack."""
    NameLayers()(graph)
    layers = structured_layers(graph)
    if any(layer.input.shape is None or layer.output.type is None for layer in layers):
        infer_shapes(graph, strict=True)
    for layer in layers:
        layer.output.type = layer.output.type or ir.TensorType(layer.element_type)


def _real_inputs(graph: ir.Model) -> list[ir.Value]:
    """Inputs that are no initialisers: old files list those among the inputs too."""
    return [value for value in graph.graph.inputs if value.name not in graph.graph.initializers]


def _spec(value: ir.Value) -> TensorSpec:
    name = _name(value)
    if value.shape is None or value.dtype is None:
        raise InvalidInputError(f"{name} has no declared shape or element type")
    if value.dtype == ir.DataType.BFLOAT16:
        raise InvalidInputError(
            f"{name} is an input or output of bfloat16, which NumPy lacks; let it be float and cast it inside"
        )
    shape = tuple(_axis(axis) for axis in value.shape)
    unnamed = tuple(f"{name}_{index}" if axis is None else axis for index, axis in enumerate(shape))
    return TensorSpec(name, _numpy_name(name, value.dtype), unnamed)


def _numpy_name(name: str, dtype: ir.DataType) -> str:
    try:
        return str(dtype.numpy().name)
    except TypeError as error:
        raise InvalidInputError(f"{name} has element type {dtype.name}, which NumPy does not have") from error


def _axis(axis: object) -> int | str | None:
    if isinstance(axis, int):
        return axis
    return axis.value if isinstance(axis, ir.SymbolicDim) else None


def _name(value: ir.Value | None) -> str:
    if value is None or not value.name:
        raise InvalidInputError("a structured layer or the graph has a value without a name")
    return value.name
