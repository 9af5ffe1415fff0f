"""GELU in elementary operators becomes one operator, and nothing else does."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import parser
from onnx.reference import ReferenceEvaluator

from blast_deploy.passes.recognise_gelu import RecogniseGelu

HEAD = '<ir_version: 10, opset_import: ["" : 20]> one ({type}[rows, 6] x) => ({type}[rows, 6] y{more})'
CONSTANTS = """
    half = Constant <value = {type} {{0.5}}> ()
    one = Constant <value = {type} {{1.0}}> ()
    root = Constant <value = {type} {{1.4142135}}> ()
    three = Constant <value = {type} {{3.0}}> ()
    cube = Constant <value = {type} {{0.044715}}> ()
    scale = Constant <value = {type} {{0.7978846}}> ()
    other = Constant <value = {type} {{1.702}}> ()
"""
GELU_PYTHON = "h = Mul(x, half)  d = Div(x, root)  e = Erf(d)  p = Add(e, one)  y = Mul(h, p)"
TURNED = "d = Div(x, root)  e = Erf(d)  p = Add(one, e)  h = Mul(half, x)  y = Mul(p, h)"
GELU_NEW = """h = Mul(x, half)  c = Pow(x, three)  k = Mul(c, cube)  s = Add(x, k)  t = Mul(s, scale)
    u = Tanh(t)  p = Add(u, one)  y = Mul(h, p)"""
GELU_FAST = """h = Mul(x, half)  t = Mul(x, scale)  k = Mul(x, cube)  c = Mul(k, x)  s = Add(c, one)
    i = Mul(t, s)  u = Tanh(i)  p = Add(u, one)  y = Mul(h, p)"""
QUICK = "h = Mul(x, other)  s = Sigmoid(h)  y = Mul(x, s)"
OTHER_FACTOR = GELU_PYTHON.replace("half)", "other)")
OTHER_CUBE = GELU_NEW.replace("cube)", "scale)")
OTHER_POWER = GELU_NEW.replace("three)", "one)")


def make(body: str, element: str = "float", more: str = "") -> ir.Model:
    """The operators of a body stand on one line, two spaces apart."""
    lines = "\n".join(line for part in body.splitlines() for line in part.strip().split("  "))
    head = HEAD.format(type=element, more=more)
    return ir.from_proto(parser.parse_model(f"{head} {{ {CONSTANTS.format(type=element)} {lines} }}"))


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph if node.op_type != "Constant"]


@pytest.mark.parametrize(
    ("body", "approximate"),
    [(GELU_PYTHON, "none"), (TURNED, "none"), (GELU_NEW, "tanh"), (GELU_FAST, "tanh")],
)
def test_each_spelling_becomes_gelu_of_the_same_values(body: str, approximate: str) -> None:
    model = make(body)
    x = np.random.default_rng(0).normal(0, 3, (40, 6)).astype(np.float32)
    (before,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    assert RecogniseGelu()(model).modified
    assert operators(model) == ["Gelu"]
    assert model.graph.node(-1).attributes["approximate"].as_string() == approximate
    (after,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    np.testing.assert_allclose(after, before, rtol=0, atol=2e-6)


@pytest.mark.parametrize("body", [QUICK, OTHER_FACTOR, OTHER_CUBE, OTHER_POWER])
def test_other_functions_stay(body: str) -> None:
    model = make(body)
    before = operators(model)
    assert not RecogniseGelu()(model).modified
    assert operators(model) == before


def test_double_stays_where_the_runtime_has_no_gelu() -> None:
    model = make(GELU_PYTHON, "double")
    assert not RecogniseGelu()(model).modified


def test_what_else_is_read_in_between_stays() -> None:
    model = make(GELU_PYTHON, more=", float[rows, 6] e")
    assert not RecogniseGelu()(model).modified
    assert operators(model) == ["Mul", "Div", "Erf", "Add", "Mul"]
