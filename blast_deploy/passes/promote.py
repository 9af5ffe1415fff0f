"""A model in float64: what its numbers would be without rounding, where only the ONNX file is at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import inliner, numpy_helper
from onnx.reference import ReferenceEvaluator

from blast_deploy.errors import InvalidInputError

_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
_TYPE_ATTRIBUTES = {"to", "dtype"}
_SCALAR_CONSTANTS = {"value_float": np.float64, "value_floats": np.float64}


def promote_to_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """Inline every function and turn every floating-point tensor into float64.

    Args:
        model: With its external data loaded; it is left as it is.

    Returns:
        A model for ``onnx.reference``; ONNX Runtime lacks some operators in double.
    """
    promoted = inliner.inline_local_functions(model)
    _promote_graph(promoted.graph)
    return promoted


def evaluate_float64(
    model: onnx.ModelProto, samples: Sequence[Mapping[str, NDArray[Any]]]
) -> list[dict[str, NDArray[np.float64]]]:
    """Run a model in float64 in ``onnx.reference``: slow, for small samples.

    Args:
        model: With its external data loaded.
        samples: Inputs by name, at the model's own dtypes.

    Returns:
        Outputs by name as float64, for each sample.

    Raises:
        InvalidInputError: If the evaluator cannot run the model, with its words.
    """
    promoted = promote_to_float64(model)
    names = [output.name for output in promoted.graph.output]
    try:
        evaluator = ReferenceEvaluator(promoted)
        results = [evaluator.run(None, {k: _widen(v) for k, v in sample.items()}) for sample in samples]
    except Exception as error:  # an operator's implementation may raise anything
        raise InvalidInputError(
            f"the model cannot be evaluated in float64 ({type(error).__name__}: {error}); "
            "export it with this tool, which writes float64 outputs beside it"
        ) from error
    return [
        {name: np.asarray(value, dtype=np.float64) for name, value in zip(names, values, strict=True)}
        for values in results
    ]


def _promote_graph(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _promote_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in _FLOATS:
            value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for node in graph.node:
        _promote_node(node)


def _promote_node(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name in _TYPE_ATTRIBUTES and attribute.i in _FLOATS:
            attribute.i = onnx.TensorProto.DOUBLE
        if attribute.HasField("t"):
            _promote_tensor(attribute.t)
        for subgraph in _subgraphs(attribute):
            _promote_graph(subgraph)
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


def _promote_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in _FLOATS:
        wide = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))


def _subgraphs(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _widen(array: NDArray[Any]) -> NDArray[Any]:
    # bfloat16 of ml_dtypes is no np.floating, but its kind is not an integer's either.
    return array.astype(np.float64) if array.dtype.kind in "fV" else array
