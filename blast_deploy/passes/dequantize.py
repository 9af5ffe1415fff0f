"""Quantised BLAST layers to float ones that compute the same."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.rewrite import add_initializer, drop_unused_bodies, replace_layer
from blast_deploy.passes.structured import StructuredLayer, select, structured_layers
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.contract import BLAST_LINEAR, DOMAIN


class Dequantize(ir.passes.InPlacePass):
    """Turn ``QBlastLinear`` nodes whose activations stay floats into ``BlastLinear``, once for all runs.

    The factors become the initialisers ``<layer>.U``, ``.S`` and ``.V``, each value rounded once.
    """

    def __init__(self, layers: Collection[str]) -> None:
        """Make the pass for the layers of these names."""
        super().__init__()
        self.layers = layers

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace the layers.

        Raises:
            InvalidInputError: If there is no such layer, or one is not quantised or quantises activations.
        """
        chosen = select(structured_layers(model), self.layers)
        for layer in chosen:
            _dequantize(layer)
        drop_unused_bodies(model)
        return ir.passes.PassResult(model, modified=bool(chosen))


def _dequantize(layer: StructuredLayer) -> None:
    if layer.quantisation is None or layer.quantisation.activation != "float":
        raise InvalidInputError(
            f"layer {layer.name!r} cannot be dequantised: it must be quantised with activation float"
        )
    read, (b1, b2) = layer.matrix_later(), layer.blocks
    p, q = -(-layer.out_features // b1), -(-layer.in_features // b2)
    shapes = {"U": (b1, p, layer.rank), "S": (b1, b2, layer.rank), "V": (b2, layer.rank, q)}
    factors = [
        add_initializer(layer, name, layer.element_type, shape, _reader(read, name.lower(), layer))
        for name, shape in shapes.items()
    ]
    node = ir.node(
        BLAST_LINEAR.name,
        [layer.input, *factors, layer.node.inputs[-1]],
        {"in_features": layer.in_features, "out_features": layer.out_features},
        domain=DOMAIN,
        name=layer.name,
    )
    replace_layer(layer, [node])


def _reader(
    read: Callable[[], BlastMatrix], factor: str, layer: StructuredLayer
) -> Callable[[], NDArray[Any]]:
    dtype = layer.element_type.numpy()
    return lambda: np.ascontiguousarray(getattr(read(), factor), dtype)
