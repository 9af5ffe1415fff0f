"""``ai.blast::QBlastLinear`` for ONNX: its meaning as a function of standard operators.

The body is that of ``BlastLinear`` (weights left, rows right) on dequantised factors. Where ``activation`` is
``int8``, X and the inner vector pass through quantisation and back first. Which of the two is a branch in the
body, on a constant that runtimes fold. Overloads of the function, one for each activation, would say the
same, but ONNX Runtime up to 1.24 and ``onnx.reference`` take one overload for another without a word.
"""

from __future__ import annotations

import functools
from typing import Any

import onnx
import onnx_ir as ir
import onnxscript
from onnx_ir.passes.common import InlinePass
from onnxscript import opset21

from blast_deploy.structures.contract import DOMAIN, DOMAIN_VERSION, Q_BLAST_LINEAR

op: Any = opset21
_OPSET = onnxscript.values.Opset(DOMAIN, DOMAIN_VERSION)


def function() -> ir.Function:
    """Make a fresh copy of the body, to be put into a model's functions."""
    return ir.serde.deserialize_function(function_proto())


@functools.cache
def function_proto() -> onnx.FunctionProto:
    """Translate the body to ONNX (opset 21, no other domain)."""
    script = onnxscript.script(_OPSET)
    main = ir.serde.deserialize_function(script(QBlastLinear).to_function_proto())
    helper = ir.serde.deserialize_function(_through_int8.to_function_proto())
    holder = ir.Model(ir.Graph([], [], nodes=[], opset_imports=dict(main.opset_imports)), ir_version=10)
    holder.functions.update({each.identifier(): each for each in (main, helper)})
    InlinePass(criteria=lambda each: each.name == helper.name)(holder)
    main.opset_imports.pop(DOMAIN, None)
    proto = ir.serde.serialize_function(main)
    proto.doc_string = Q_BLAST_LINEAR.doc
    return proto


@onnxscript.script(_OPSET)
def _through_int8(values):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Quantise (blocks, k, rows) in groups along k and dequantise again; onnxscript reads this source."""
    zero = op.Constant(value_ints=[0])
    group = op.Constant(value_ints=[32])
    width = op.Shape(values, start=1, end=2)
    rows = op.Shape(values, start=2, end=3)
    spare = op.Mod(op.Neg(width), group)
    padded = op.Pad(values, op.Concat(zero, zero, zero, zero, spare, zero, axis=0))
    grouped = op.Reshape(padded, op.Concat(zero, op.Constant(value_ints=[-1]), group, rows, axis=0))
    greatest = op.ReduceMax(op.Abs(grouped), op.Constant(value_ints=[2]))
    levels = op.Constant(value_float=127.0)
    none = op.Constant(value_float=0.0)
    is_zero = op.Less(greatest, op.Constant(value_float=1e-30))
    inverse = op.Where(is_zero, none, op.Div(levels, greatest))
    integers = op.Round(op.Mul(grouped, inverse))
    dequantized = op.Reshape(op.Mul(integers, op.Div(greatest, levels)), op.Shape(padded))
    return op.Slice(dequantized, zero, width, op.Constant(value_ints=[1]))


def QBlastLinear(  # type: ignore[no-untyped-def] # noqa: ANN201
    X,  # noqa: ANN001
    Uq,  # noqa: ANN001
    U_scale,  # noqa: ANN001
    S,  # noqa: ANN001
    Vq,  # noqa: ANN001
    V_scale,  # noqa: ANN001
    bias,  # noqa: ANN001
    in_features: int,
    out_features: int,
    bits: int,
    u_block_size: int,
    v_block_size: int,
    activation: str,
):
    """Compute QBlastLinear of the contract with standard operators; onnxscript reads this source.

    For the reshapes and the row that is added to none see ``BlastLinear``'s body.
    """
    U = op.DequantizeLinear(Uq, U_scale, axis=2, block_size=u_block_size)
    V = op.DequantizeLinear(Vq, V_scale, axis=2, block_size=v_block_size)
    zero = op.Constant(value_ints=[0])
    one = op.Constant(value_ints=[1])
    # Side by side, because onnx.reference compares only strings of one length.
    given = op.Unsqueeze(op.Constant(value_string=activation), zero)
    names = op.Concat(given, op.Constant(value_strings=["int8"]), axis=0)
    is_int8 = op.Squeeze(op.Equal(op.Gather(names, zero), op.Gather(names, one)))
    width = op.Unsqueeze(op.Constant(value_int=in_features), zero)
    height = op.Unsqueeze(op.Constant(value_int=out_features), zero)
    flat = op.Reshape(X, op.Concat(op.Constant(value_ints=[-1]), width, axis=0))
    rows = op.Shape(flat, start=0, end=1)
    blocks = op.Shape(V, start=0, end=1)
    columns = op.Shape(V, start=2, end=3)
    spare_row = op.Sub(one, op.Min(rows, one))
    spare_columns = op.Sub(op.Mul(blocks, columns), width)
    padded = op.Pad(flat, op.Concat(zero, zero, spare_row, spare_columns, axis=0))
    split = op.Reshape(padded, op.Concat(zero, blocks, columns, axis=0))
    right = op.Transpose(split, perm=[1, 2, 0])
    if is_int8:  # noqa: SIM108 (onnxscript knows no other form)
        entering = _through_int8(right)
    else:
        entering = op.Identity(right)
    projected = op.MatMul(V, entering)
    coupling = op.Transpose(op.Cast(S, to=1), perm=[2, 0, 1])
    coupled = op.MatMul(coupling, op.Transpose(projected, perm=[1, 0, 2]))
    inner = op.Transpose(coupled, perm=[1, 0, 2])
    if is_int8:  # noqa: SIM108 (onnxscript knows no other form)
        leaving = _through_int8(inner)
    else:
        leaving = op.Identity(inner)
    stacked = op.Flatten(op.MatMul(U, leaving), axis=2)
    cropped = op.Slice(stacked, op.Concat(zero, zero, axis=0), op.Concat(height, rows, axis=0))
    shifted = op.Add(op.Transpose(cropped, perm=[1, 0]), bias)
    Y = op.Reshape(shifted, op.Concat(op.Shape(X, start=0, end=-1), height, axis=0), allowzero=1)
    return Y
