"""Reshapes around a transposition become one Transpose where they swap the last two axes, and only there."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import parser
from onnx.reference import ReferenceEvaluator

from blast_deploy.passes.swap_last_axes import SwapLastAxes

TORCH = """
<ir_version: 10, opset_import: ["" : 20]>
one (float[batch, heads, rows, 4] x) => (float[a, b, c, d] y) {
    zero = Constant <value_ints = [0]> ()
    last = Constant <value_ints = [-1]> ()
    before = Constant <value_ints = [-2]> ()
    end = Constant <value_ints = [9223372036854775807]> ()
    shape = Shape (x)
    width = Slice (shape, last, end)
    height = Slice (shape, before, last)
    leading = Slice (shape, zero, before)
    joined = Concat <axis = 0> (last, height, width)
    flat = Reshape (x, joined)
    swapped = Transpose <perm = [0, 2, 1]> (flat)
    split = Concat <axis = 0> (leading, width, height)
    y = Reshape (swapped, split)
}
"""


def make(*changes: tuple[str, str]) -> ir.Model:
    text = TORCH
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return ir.from_proto(parser.parse_model(text))


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 1, 4), (2, 0, 5, 4), (4, 4, 4, 4)])
def test_the_chain_of_torchs_attention_becomes_one_transpose(shape: tuple[int, ...]) -> None:
    model = make()
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert SwapLastAxes()(model).modified
    assert operators(model) == ["Transpose"]
    (y,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    np.testing.assert_array_equal(y, x.swapaxes(-1, -2))


@pytest.mark.parametrize("axes", ["batch, rows, 4", "a, batch, heads, rows, 4"])
def test_any_number_of_leading_axes_will_do(axes: str) -> None:
    model = make(("batch, heads, rows, 4", axes))
    assert SwapLastAxes()(model).modified
    assert operators(model) == ["Transpose"]


@pytest.mark.parametrize(
    "change",
    [
        ("(last, height, width)", "(last, width, height)"),  # another three-axis view
        ("(leading, width, height)", "(leading, height, width)"),  # no swap of what x has
        ("(leading, width, height)", "(width, leading, height)"),
        ("perm = [0, 2, 1]", "perm = [1, 0, 2]"),
        ("leading = Slice (shape, zero, before)", "leading = Slice (shape, zero, before, zero)"),
        ("shape = Shape (x)", "shape = Shape <start = 1> (x)"),
        ("batch, heads, rows, 4] x) => (", "batch, heads, rows, 4] x, float[batch, heads, 9, 4] z) => ("),
        ("=> (float[a, b, c, d] y)", "=> (float[a, b, c, d] y, float[a, c, d] swapped)"),
    ],
)
def test_whatever_else_it_may_be_stays(change: tuple[str, str]) -> None:
    changes = [change]
    if " z)" in change[1]:
        changes.append(("Shape (x)", "Shape (z)"))
    model = make(*changes)
    before = operators(model)
    assert not SwapLastAxes()(model).modified
    assert operators(model) == before
