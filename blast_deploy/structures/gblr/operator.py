"""``ai.blast::GblrLinear`` for ONNX: its meaning as a function of standard operators.

The body writes both sides out as K x size matrices, zeros included, and multiplies twice. How they are
written out depends on constants alone, so runtimes fold it when they load the model, and what runs is the
two products of a low-rank layer.
"""

from __future__ import annotations

import functools
from typing import Any

import onnx
import onnx_ir as ir
import onnxscript
from onnx_ir.passes.common import InlinePass
from onnxscript import opset20

from blast_deploy.structures.blast.operator import schema
from blast_deploy.structures.contract import DOMAIN, DOMAIN_VERSION, GBLR_LINEAR

op: Any = opset20
_OPSET = onnxscript.values.Opset(DOMAIN, DOMAIN_VERSION)


def node_maker() -> onnxscript.values.Op:
    """Make what emits a bare ``GblrLinear`` node when torch's exporter calls it."""
    return onnxscript.values.Op(_OPSET, GBLR_LINEAR.name, schema(GBLR_LINEAR))


def function() -> ir.Function:
    """Make a fresh copy of the body, to be put into a model's functions."""
    return ir.serde.deserialize_function(function_proto())


@functools.cache
def function_proto() -> onnx.FunctionProto:
    """Translate the body to ONNX (opset 20, no other domain)."""
    script = onnxscript.script(_OPSET)
    main = ir.serde.deserialize_function(script(GblrLinear).to_function_proto())
    helper = ir.serde.deserialize_function(_written_out.to_function_proto())
    holder = ir.Model(ir.Graph([], [], nodes=[], opset_imports=dict(main.opset_imports)), ir_version=10)
    holder.functions.update({each.identifier(): each for each in (main, helper)})
    InlinePass(criteria=lambda each: each.name == helper.name)(holder)
    main.opset_imports.pop(DOMAIN, None)
    proto = ir.serde.serialize_function(main)
    proto.doc_string = GBLR_LINEAR.doc
    return proto


@onnxscript.script(_OPSET)
def _written_out(values, start, width, size):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Write vectors out as a (K, size) matrix; onnxscript reads this source.

    Entries outside an interval read a zero that is put behind the values. Where there is no component, one
    of width zero stands in: a product over no components is undefined in some runtimes.
    """
    zero = op.Constant(value_ints=[0])
    one = op.Constant(value_ints=[1])
    spare = op.Concat(zero, op.Sub(one, op.Min(op.Shape(width), one)), axis=0)
    starts, widths = op.Pad(start, spare), op.Pad(width, spare)
    first = op.CumSum(widths, op.Constant(value_int=0), exclusive=1)
    entries = op.Range(op.Constant(value_int=0), size, op.Constant(value_int=1))
    steps = op.Mod(op.Sub(op.Unsqueeze(entries, zero), op.Unsqueeze(starts, one)), size)
    inside = op.Less(steps, op.Unsqueeze(widths, one))
    index = op.Where(inside, op.Add(steps, op.Unsqueeze(first, one)), op.Shape(values))
    # Not by Pad, which ONNX Runtime lacks in half precision on the CPU and would run at every call.
    nothing = op.CastLike(op.Constant(value_floats=[0.0]), values)
    return op.Gather(op.Concat(values, nothing, axis=0), index)


def GblrLinear(  # type: ignore[no-untyped-def] # noqa: ANN201
    X,  # noqa: ANN001
    u,  # noqa: ANN001
    u_start,  # noqa: ANN001
    u_width,  # noqa: ANN001
    v,  # noqa: ANN001
    v_start,  # noqa: ANN001
    v_width,  # noqa: ANN001
    bias,  # noqa: ANN001
    in_features: int,
    out_features: int,
):
    """Compute GblrLinear of the contract with standard operators; onnxscript reads this source.

    X of any other width than in_features fails in the first product.
    """
    left = _written_out(u, u_start, u_width, op.Constant(value_int=out_features))
    right = _written_out(v, v_start, v_width, op.Constant(value_int=in_features))
    projected = op.MatMul(X, op.Transpose(right, perm=[1, 0]))
    Y = op.Add(op.MatMul(projected, left), bias)
    return Y
