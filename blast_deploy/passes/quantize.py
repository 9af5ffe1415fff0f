"""BLAST layers to quantised ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from blast_deploy.passes.bodies import body
from blast_deploy.passes.raise_opset import RaiseOpset
from blast_deploy.passes.rewrite import add_initializer, drop_unused_bodies, replace_layer
from blast_deploy.passes.structured import StructuredLayer, select, structured_layers
from blast_deploy.structures.contract import DOMAIN, Q_BLAST_LINEAR
from blast_deploy.structures.quantized_blast.matrix import Activation, QuantizedBlastMatrix

_TYPES = {"T": ir.DataType.FLOAT, "int8": ir.DataType.INT8}
_INTEGERS = {8: (ir.DataType.INT8, np.int8), 4: (ir.DataType.INT4, ml_dtypes.int4)}


class Quantize(ir.passes.InPlacePass):
    """Turn ``BlastLinear`` nodes into ``QBlastLinear`` with factors that are quantised already.

    The factors of layer ``query`` become the initialisers ``query.Uq`` and so on; its bias stays. The model
    becomes one of opset 21, and carries the body of ``QBlastLinear``.
    """

    def __init__(self, matrices: Mapping[str, QuantizedBlastMatrix], activation: Activation) -> None:
        """Make the pass.

        Args:
            matrices: Layer name to its quantised factors.
            activation: What the operator is to do with X and the inner vector.
        """
        super().__init__()
        self.matrices = matrices
        self.activation = activation

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace the layers.

        Raises:
            InvalidInputError: If there is no layer of some name, or the model's opset cannot be raised.
        """
        chosen = select(structured_layers(model), self.matrices)
        if not chosen:
            return ir.passes.PassResult(model, modified=False)
        RaiseOpset(Q_BLAST_LINEAR.opset)(model)
        for layer in chosen:
            self._replace(layer, self.matrices[layer.name])
        function = body(Q_BLAST_LINEAR.name)
        # The checker wants the model's own opset of every function; newer ones mean the same.
        function.opset_imports[""] = model.opset_imports[""]
        model.functions[function.identifier()] = function
        drop_unused_bodies(model)
        return ir.passes.PassResult(model, modified=True)

    def _replace(self, layer: StructuredLayer, matrix: QuantizedBlastMatrix) -> None:
        kinds = {item.name: item.type for item in Q_BLAST_LINEAR.inputs}
        factors = [
            _initializer(layer, name, array, kinds[name], matrix.bits)
            for name, array in matrix.tensors().items()
        ]
        attributes: dict[str, int | str] = {
            "in_features": matrix.in_features,
            "out_features": matrix.out_features,
            "bits": matrix.bits,
            "u_block_size": matrix.u_block_size,
            "v_block_size": matrix.v_block_size,
            "activation": self.activation,
        }
        node = ir.node(
            Q_BLAST_LINEAR.name,
            [layer.input, *factors, layer.node.inputs[-1]],
            attributes,
            domain=DOMAIN,
            name=layer.name,
        )
        replace_layer(layer, [node])


def _initializer(layer: StructuredLayer, name: str, array: NDArray[Any], kind: str, bits: int) -> ir.Value:
    dtype, element = _INTEGERS[bits] if kind == "Q" else (_TYPES[kind], array.dtype)
    return add_initializer(layer, name, dtype, array.shape, lambda: array.astype(element, copy=False))
