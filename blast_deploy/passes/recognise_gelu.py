"""GELU that a model spells out in elementary operators, as the one operator that it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import pattern

_TANH_SCALE = math.sqrt(2 / math.pi)
_TANH_CUBE = 0.044715
_TYPES = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
"""Those in which ONNX Runtime computes Gelu on the CPU; it has all the elementary operators in double too."""


class RecogniseGelu(ir.passes.InPlacePass):
    """Turn what computes GELU by erf, or by tanh (Hendrycks and Gimpel, arXiv 1606.08415), into ``Gelu``.

    Hugging Face's gelu_python, gelu_new, gelu_accurate and gelu_fast export as up to eight operators, over
    which a layer's kernel cannot reach. The operator is of opset 20.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace every GELU whose values in between nothing else reads."""
        rules = pattern.RewriteRuleSet(list(_rules()), commute=True)
        return ir.passes.PassResult(model, modified=bool(rules.apply_to_model(model)))


def _rules() -> Iterable[pattern.RewriteRule]:
    for find in (_by_erf, _by_cube, _by_square):
        approximate = "none" if find is _by_erf else "tanh"
        yield pattern.RewriteRule(find, _gelu(approximate), _is_computed, name=f"Gelu{find.__name__}")


def _by_erf(op: Any, x: Any) -> Any:
    return (x * 0.5) * (op.Erf(x / math.sqrt(2)) + 1.0)


def _by_cube(op: Any, x: Any) -> Any:
    return (x * 0.5) * (op.Tanh((x + op.Pow(x, 3.0) * _TANH_CUBE) * _TANH_SCALE) + 1.0)


def _by_square(op: Any, x: Any) -> Any:
    return (x * 0.5) * (op.Tanh((x * _TANH_SCALE) * ((x * _TANH_CUBE) * x + 1.0)) + 1.0)


def _gelu(approximate: str) -> Callable[..., Any]:
    def replace(op: Any, x: ir.Value) -> Any:
        return op.Gelu(x, approximate=approximate)

    return replace


def _is_computed(context: Any, x: ir.Value) -> bool:
    del context
    return x.dtype in _TYPES
