"""Shapes and element types that a file leaves out."""

from __future__ import annotations

import logging

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

_LOGGER = logging.getLogger("onnx_ir")


def infer_shapes(model: ir.Model, *, strict: bool = False) -> None:
    """Fill in what shape inference finds; where it fails, the model stays as it is.

    Args:
        model: The model; it is changed.
        strict: Whether one node that cannot be inferred leaves everything as it is.
    """
    level = _LOGGER.level
    # A failure is logged with its traceback, which is nothing that a user can act on.
    _LOGGER.setLevel(logging.CRITICAL)
    try:
        ShapeInferencePass(check_type=strict, strict_mode=strict)(model)
    finally:
        _LOGGER.setLevel(level)
