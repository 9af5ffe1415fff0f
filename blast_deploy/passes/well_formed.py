"""What ONNX itself asks of a model file: sorted nodes, names given once, no function that calls itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import Message

from blast_deploy.errors import InvalidInputError


def check_well_formed(file: Path, has_external_data: bool) -> None:
    """Refuse a file that the ONNX checker refuses.

    Args:
        file: The model file.
        has_external_data: Whether weights lie in other files. Those are left out: the checker takes no links
            in their place, and ``load_model`` has its own word on them.

    Raises:
        InvalidInputError: With the checker's words.
    """
    try:
        onnx.checker.check_model(_without_external_data(file) if has_external_data else str(file))
    except Exception as error:  # the checker, shape inference and protobuf raise types of their own
        reason = " ".join(str(error).split("==>")[0].split()).rstrip(".")
        raise InvalidInputError(f"{file} is no valid ONNX model ({reason}); export it again") from error


def _without_external_data(file: Path) -> onnx.ModelProto:
    model = onnx.load(file, load_external_data=False)
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            name, data_type = tensor.name, tensor.data_type
            tensor.Clear()
            tensor.name, tensor.data_type, tensor.raw_data = name, data_type, b""
            tensor.dims.append(0)
    return model


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor in a message, however deep."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                yield from _tensors(part)
