"""``ai.blast::BlastLinear`` for ONNX: its schema, and its meaning as a function of standard operators.

The body is the "weights left" form: rows stand on the right of every product (V X^T, then S for each of the
r components, then U), so that all three steps are batched matrix products with the factor on the left.
ONNX Runtime fuses the transposes around them away.
"""

from __future__ import annotations

import functools
from typing import Any

import onnx
import onnx_ir as ir
import onnxscript
from onnxscript import opset20

from blast_deploy.structures.contract import BLAST_LINEAR, DOMAIN, DOMAIN_VERSION, Input, Operator

op: Any = opset20
_OPSET = onnxscript.values.Opset(DOMAIN, DOMAIN_VERSION)


def schema(operator: Operator = BLAST_LINEAR) -> onnx.defs.OpSchema:
    """Write an operator of the contract as an ONNX schema."""
    attribute_type = onnx.defs.OpSchema.AttrType
    kinds = {"int": attribute_type.INT, "ints": attribute_type.INTS, "string": attribute_type.STRING}
    return onnx.defs.OpSchema(
        operator.name,
        DOMAIN,
        operator.since_version,
        operator.doc,
        inputs=[_parameter(item) for item in operator.inputs],
        outputs=[_parameter(item) for item in operator.outputs],
        type_constraints=_constraints(operator),
        attributes=[
            onnx.defs.OpSchema.Attribute(item.name, kinds[item.type], item.doc, required=item.default is None)
            for item in operator.attributes
        ],
    )


def _constraints(operator: Operator) -> list[tuple[str, list[str], str]]:
    found = [("T", [f"tensor({name})" for name in operator.types], "one float type for all")]
    if operator.quantised_types:
        found.append(("Q", [f"tensor({name})" for name in operator.quantised_types], "type of the factors"))
    return found


def _parameter(item: Input) -> onnx.defs.OpSchema.FormalParameter:
    options = onnx.defs.OpSchema.FormalParameterOption
    option = options.Variadic if item.variadic else options.Optional if item.optional else options.Single
    return onnx.defs.OpSchema.FormalParameter(item.name, _type(item), item.doc, param_option=option)


def _type(item: Input) -> str:
    return item.type if item.type in ("T", "Q") else f"tensor({item.type})"


def node_maker() -> onnxscript.values.Op:
    """Make what emits a bare ``BlastLinear`` node when torch's exporter calls it."""
    return onnxscript.values.Op(_OPSET, BLAST_LINEAR.name, schema())


def function() -> ir.Function:
    """Make a fresh copy of the body, to be put into a model's functions."""
    return ir.serde.deserialize_function(function_proto())


@functools.cache
def function_proto() -> onnx.FunctionProto:
    """Translate the body to ONNX (opset 20, no other domain)."""
    proto: onnx.FunctionProto = onnxscript.script(_OPSET)(BlastLinear).to_function_proto()
    proto.doc_string = BLAST_LINEAR.doc
    return proto


def BlastLinear(X, U, S, V, bias, in_features: int, out_features: int):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Compute BlastLinear of the contract with standard operators; onnxscript reads this source.

    Rows are counted by in_features, and Y must have the leading axes of X, so X of any other width fails in
    one of the two reshapes. Zero rows are padded to one: ONNX Runtime's fusion of MatMul with
    such a Transpose divides by the number of rows, which ends the process.
    """
    zero = op.Constant(value_ints=[0])
    one = op.Constant(value_ints=[1])
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
    projected = op.MatMul(V, op.Transpose(split, perm=[1, 2, 0]))
    coupled = op.MatMul(op.Transpose(S, perm=[2, 0, 1]), op.Transpose(projected, perm=[1, 0, 2]))
    stacked = op.Flatten(op.MatMul(U, op.Transpose(coupled, perm=[1, 0, 2])), axis=2)
    cropped = op.Slice(stacked, op.Concat(zero, zero, axis=0), op.Concat(height, rows, axis=0))
    shifted = op.Add(op.Transpose(cropped, perm=[1, 0]), bias)
    Y = op.Reshape(shifted, op.Concat(op.Shape(X, start=0, end=-1), height, axis=0), allowzero=1)
    return Y
