"""Structured layers to dense ones."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from blast_deploy.passes.rewrite import add_initializer, drop_unused_bodies, replace_layer
from blast_deploy.passes.structured import StructuredLayer, select, structured_layers


class Densify(ir.passes.InPlacePass):
    """Multiply structured layers out: a MatMul with ``<layer>.weight`` (in, out) and an Add of the bias.

    The MatMul has the layer's name. A bias of zeros is left out.
    """

    def __init__(self, layers: Collection[str]) -> None:
        """Make the pass for the layers of these names."""
        super().__init__()
        self.layers = layers

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Multiply the layers out.

        Raises:
            InvalidInputError: If there is no such layer.
        """
        chosen = select(structured_layers(model), self.layers)
        for layer in chosen:
            _densify(layer)
        drop_unused_bodies(model)
        return ir.passes.PassResult(model, modified=bool(chosen))


def _densify(layer: StructuredLayer) -> None:
    dense, dtype = layer.dense_later(), layer.element_type
    shape = layer.in_features, layer.out_features
    weight = add_initializer(
        layer, "weight", dtype, shape, lambda: np.ascontiguousarray(dense().T.astype(dtype.numpy()))
    )
    operands = [layer.input, weight]
    product = ir.node("MatMul", operands, name=layer.name)
    nodes = [product]
    if layer.bias().any():
        product.outputs[0].name = f"{layer.name}/product"
        nodes.append(ir.node("Add", [product.outputs[0], layer.node.inputs[-1]], name=f"{layer.name}/bias"))
    replace_layer(layer, nodes)
