"""A model in float64: what its numbers would be without rounding, where only the ONNX file is at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import inliner, numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor
from onnx.reference import ReferenceEvaluator

from blast_deploy.errors import InvalidInputError

_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
_TYPE_ATTRIBUTES = {"to", "dtype"}
_SCALAR_CONSTANTS = {"value_float": np.float64, "value_floats": np.float64}


def evaluate_float64(
    model: onnx.ModelProto, samples: Sequence[Mapping[str, NDArray[Any]]], folder: Path | None = None
) -> list[dict[str, NDArray[np.float64]]]:
    """Run a model in float64 in ``onnx.reference``: slow, for small samples.

    Every function is inlined and every floating-point tensor is float64 (ONNX Runtime lacks some operators in
    double). A weight is read and promoted for the nodes that use it, one node at a time, so a large model
    needs little memory.

    Args:
        model: It is left as it is.
        samples: Inputs by name, at the model's own dtypes.
        folder: Where its external data lies, if it is not loaded.

    Returns:
        Outputs by name as float64, for each sample.

    Raises:
        InvalidInputError: If the evaluator cannot run the model, with its words.
    """
    inlined = inliner.inline_local_functions(model)
    weights = {tensor.name: tensor for tensor in inlined.graph.initializer}
    for node in inlined.graph.node:
        _promote_node(node, folder)
    values = [{name: _widen(array) for name, array in sample.items()} for sample in samples]
    names = [output.name for output in inlined.graph.output]
    try:
        for node, unneeded in _with_last_uses(inlined.graph):
            _run_node(node, inlined, weights, folder, values)
            for own in values:
                for name in unneeded:
                    own.pop(name, None)
        given = [{name: own.get(name, weights.get(name)) for name in names} for own in values]
        return [{name: _output(value, folder) for name, value in outputs.items()} for outputs in given]
    except Exception as error:  # an operator's implementation may raise anything
        raise InvalidInputError(
            f"the model cannot be evaluated in float64 ({type(error).__name__}: {error}); "
            "export it with this tool, which writes float64 outputs beside it"
        ) from error


def _run_node(
    node: onnx.NodeProto,
    model: onnx.ModelProto,
    weights: Mapping[str, onnx.TensorProto],
    folder: Path | None,
    values: Sequence[dict[str, Any]],
) -> None:
    """Compute one node for all samples; what it gives joins each sample's ``values``."""
    read, outputs = _reads(node), [name for name in node.output if name]
    graph = onnx.helper.make_graph([node], "node", _untyped(read), _untyped(outputs))
    single = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    evaluator = ReferenceEvaluator(single)
    constants = {name: _read(weights[name], folder) for name in read if name in weights}
    for own in values:
        known = {name: own[name] for name in read if name in own}
        # A model may divide by zero where it does not use the quotient.
        with np.errstate(divide="ignore", invalid="ignore"):
            found = evaluator.run(outputs, constants | known)
        own.update(zip(outputs, found, strict=True))


def _with_last_uses(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, set[str]]]:
    """Each node in order, and the values that nothing reads after it."""
    kept = {output.name for output in graph.output}
    steps: list[tuple[onnx.NodeProto, set[str]]] = []
    for node in reversed(graph.node):
        own = {*_reads(node), *node.output}
        steps.append((node, own - kept))
        kept |= own
    yield from reversed(steps)


def _reads(node: onnx.NodeProto) -> list[str]:
    """Names that a node and its subgraphs read from outside, each once."""
    names = dict.fromkeys(name for name in node.input if name)
    for attribute in node.attribute:
        for graph in _subgraphs(attribute):
            inside = {value.name for value in (*graph.input, *graph.initializer)}
            for child in graph.node:
                names |= dict.fromkeys(name for name in _reads(child) if name not in inside)
                inside.update(child.output)
            names |= dict.fromkeys(value.name for value in graph.output if value.name not in inside)
    return list(names)


def _untyped(names: Sequence[str]) -> list[onnx.ValueInfoProto]:
    return [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in names]


def _output(value: Any, folder: Path | None) -> NDArray[np.float64]:
    return np.asarray(_read(value, folder) if isinstance(value, onnx.TensorProto) else value, np.float64)


def _read(tensor: onnx.TensorProto, folder: Path | None) -> NDArray[Any]:
    """Read a tensor, in float64 if it is a floating-point one."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL and folder is not None:
        loaded = onnx.TensorProto()
        loaded.CopyFrom(tensor)
        load_external_data_for_tensor(loaded, str(folder))
        # Before 1.22 onnx leaves this as it was, and would load the data again.
        loaded.data_location = onnx.TensorProto.DEFAULT
        tensor = loaded
    array: NDArray[Any] = numpy_helper.to_array(tensor)
    return array.astype(np.float64) if tensor.data_type in _FLOATS else array


def _promote_graph(graph: onnx.GraphProto, folder: Path | None) -> None:
    for tensor in graph.initializer:
        _promote_tensor(tensor, folder)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in _FLOATS:
            value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for node in graph.node:
        _promote_node(node, folder)


def _promote_node(node: onnx.NodeProto, folder: Path | None) -> None:
    for attribute in node.attribute:
        if attribute.name in _TYPE_ATTRIBUTES and attribute.i in _FLOATS:
            attribute.i = onnx.TensorProto.DOUBLE
        if attribute.HasField("t"):
            _promote_tensor(attribute.t, folder)
        for subgraph in _subgraphs(attribute):
            _promote_graph(subgraph, folder)
    if node.op_type == "Constant" and node.attribute[0].name in _SCALAR_CONSTANTS:
        _replace_scalar_constant(node)
    # Without a value ConstantOfShape makes float32 zeros.
    if node.op_type == "ConstantOfShape" and not node.attribute:
        zero = numpy_helper.from_array(np.zeros(1, np.float64))
        node.attribute.append(onnx.helper.make_attribute("value", zero))


def _replace_scalar_constant(node: onnx.NodeProto) -> None:
    value = onnx.helper.get_attribute_value(node.attribute[0])
    tensor = numpy_helper.from_array(np.asarray(value, np.float64))
    del node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("value", tensor))


def _promote_tensor(tensor: onnx.TensorProto, folder: Path | None) -> None:
    if tensor.data_type in _FLOATS or tensor.data_location == onnx.TensorProto.EXTERNAL:
        tensor.CopyFrom(numpy_helper.from_array(_read(tensor, folder), tensor.name))


def _subgraphs(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _widen(array: NDArray[Any]) -> NDArray[Any]:
    # bfloat16 of ml_dtypes is no np.floating, but its kind is not an integer's either.
    return array.astype(np.float64) if array.dtype.kind in "fV" else array
