"""Read a model file that nobody has vouched for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.well_formed import check_well_formed

_SHOWN = 200
"""Most characters shown of a location that is no path."""


def load_model(path: str | Path) -> ir.Model:
    """Read an ONNX file; its external weights are checked to be there and stay on disk.

    Raises:
        InvalidInputError: If the file is missing, cut short or no valid ONNX model, or its external data is
            missing, cut short, or outside the model's folder.
    """
    file = Path(path)
    if not file.is_file():
        raise InvalidInputError(f"{file} does not exist; give an ONNX file, such as export writes")
    try:
        model = ir.load(file)
        tensors = list(_tensors(model))
    except Exception as error:  # protobuf and onnx-ir raise many types for bytes that are no model
        reason = _first_cause(error)
        raise InvalidInputError(f"{file} is no readable ONNX model ({reason}); export it again") from error
    if not model.graph.outputs:
        raise InvalidInputError(
            f"{file} holds no ONNX graph with outputs; it may be cut short, export it again"
        )
    for tensor in tensors:
        if tensor.dtype == ir.DataType.UNDEFINED:
            raise InvalidInputError(f"weight {tensor.name!r} of {file} has no element type; export it again")
    for tensor in tensors:
        if isinstance(tensor, ir.ExternalTensor):
            _check_external(tensor, file)
        elif isinstance(tensor, ir.TensorProtoTensor):
            _check_embedded(tensor, file)
    check_well_formed(file, any(isinstance(tensor, ir.ExternalTensor) for tensor in tensors))
    return model


def _first_cause(error: BaseException) -> str:
    """The first line of the innermost error: onnx-ir's outer ones only say which of its functions failed."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).splitlines() or [type(error).__name__])[0]


def _check_external(tensor: ir.ExternalTensor, file: Path) -> None:
    folder = file.resolve().parent
    try:
        location = Path(tensor.location)
        target = (folder / location).resolve()
        is_file = target.is_file()
    except (OSError, ValueError, RuntimeError, TypeError) as error:  # no text, too long, links in a ring
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(
            f"{file} keeps weight {tensor.name!r} at {str(tensor.location)[:_SHOWN]!r}, which is no path "
            f"({reason}); export it again"
        ) from error
    if location.is_absolute() or not target.is_relative_to(folder):
        raise InvalidInputError(
            f"{file} keeps weight {tensor.name!r} at {location}, outside its own folder, which is not "
            "allowed; export it again"
        )
    if not is_file:
        missing = "is no file" if target.exists() else "is missing"
        raise InvalidInputError(f"{file} needs {location} beside it, which {missing}; copy it along")
    offset, length = tensor.offset or 0, tensor.length
    if offset < 0 or (length is not None and length != tensor.nbytes):
        raise InvalidInputError(
            f"weight {tensor.name!r} of {file} must be {tensor.nbytes} bytes of {location} "
            f"(got {length} at offset {offset}); export it again"
        )
    if offset + tensor.nbytes > target.stat().st_size:
        raise InvalidInputError(
            f"{file} needs {offset + tensor.nbytes} bytes of {location}, which has only "
            f"{target.stat().st_size} and is cut short; copy it again"
        )


def _check_embedded(tensor: ir.TensorProtoTensor, file: Path) -> None:
    proto = tensor.raw
    if proto.HasField("raw_data") and len(proto.raw_data) != tensor.nbytes:
        raise InvalidInputError(
            f"weight {tensor.name!r} of {file} must be {tensor.nbytes} bytes (got {len(proto.raw_data)}); "
            "the file is damaged, export it again"
        )


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value
    nodes = [*model.graph.all_nodes()]
    for function in model.functions.values():
        nodes.extend(function.all_nodes())
    for node in nodes:
        for attribute in node.attributes.values():
            if attribute.is_ref():
                continue
            if attribute.type == ir.AttributeType.TENSOR:
                yield attribute.as_tensor()
            elif attribute.type == ir.AttributeType.TENSORS:
                yield from attribute.as_tensors()
