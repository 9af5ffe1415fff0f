"""The function bodies of the structured layers' operators."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast import operator as blast
from blast_deploy.structures.contract import BLAST_LINEAR, GBLR_LINEAR, Q_BLAST_LINEAR
from blast_deploy.structures.gblr import operator as gblr
from blast_deploy.structures.quantized_blast import operator as quantized_blast

_BODIES: dict[str, Callable[[], onnx.FunctionProto]] = {
    BLAST_LINEAR.name: blast.function_proto,
    Q_BLAST_LINEAR.name: quantized_blast.function_proto,
    GBLR_LINEAR.name: gblr.function_proto,
}


def body_proto(operator: str) -> onnx.FunctionProto:
    """The body of an operator in domain ``ai.blast``; it is shared, so leave it as it is.

    Raises:
        InvalidInputError: If the operator has no function body here.
    """
    if operator not in _BODIES:
        raise InvalidInputError(f"{operator} has no function body; it must be one of {', '.join(_BODIES)}")
    return _BODIES[operator]()


def body(operator: str) -> ir.Function:
    """Make a fresh copy of an operator's body, to be put into a model's functions; see ``body_proto``."""
    return ir.serde.deserialize_function(body_proto(operator))
