"""Layers of bfloat16 as plain ONNX Runtime can compute them: in float, rounded at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from blast_deploy.passes.rewrite import add_initializer, replace_layer
from blast_deploy.passes.structured import StructuredLayer, structured_layers
from blast_deploy.structures.contract import DOMAIN


class WidenBfloat16(ir.passes.InPlacePass):
    """Let structured layers of bfloat16 run in float between two casts.

    ONNX Runtime has no bfloat16 MatMul on the CPU, so a body cannot run at that type. Widened, it shows what
    a layer of bfloat16 should give: no rounding but float's inside, and the output rounded once.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Widen every layer of bfloat16."""
        narrow = [layer for layer in structured_layers(model) if layer.dtype == "bfloat16"]
        for layer in narrow:
            _widen(layer)
        return ir.passes.PassResult(model, modified=bool(narrow))


def _widen(layer: StructuredLayer) -> None:
    factors = [_wide_input(layer, index, array) for index, array in enumerate(layer.tensors().values(), 1)]
    entering = ir.node("Cast", [layer.input], {"to": ir.DataType.FLOAT}, name=f"{layer.name}/widen")
    entering.outputs[0].name = f"{layer.name}/wide_input"
    computed = ir.node(
        layer.node.op_type,
        [entering.outputs[0], *factors],
        {"in_features": layer.in_features, "out_features": layer.out_features},
        domain=DOMAIN,
        name=f"{layer.name}/wide",
    )
    computed.outputs[0].name = f"{layer.name}/wide_output"
    leaving = ir.node(
        "Cast", [computed.outputs[0]], {"to": ir.DataType.BFLOAT16}, name=f"{layer.name}/narrow"
    )
    replace_layer(layer, [entering, computed, leaving])


def _wide_input(layer: StructuredLayer, index: int, array: NDArray[Any]) -> ir.Value | None:
    """A constant input in float; whole numbers as they are."""
    parameter = layer.operator.inputs[index]
    if parameter.type != "T":
        return layer.node.inputs[index]
    wide = array.astype(np.float32)
    return add_initializer(layer, f"{parameter.name}.float", ir.DataType.FLOAT, wide.shape, lambda: wide)
