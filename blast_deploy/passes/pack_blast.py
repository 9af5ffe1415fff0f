"""BLAST layers to the operator library's packed kernel."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

import onnx_ir as ir

from blast_deploy.passes.rewrite import add_initializer, drop_unused_bodies, replace_layer
from blast_deploy.passes.structured import StructuredLayer, select, structured_layers
from blast_deploy.structures.blast.packing import LAYOUT_VERSION, pack, packed_size
from blast_deploy.structures.blast.schedule import ScheduleLimits
from blast_deploy.structures.contract import BLAST_LINEAR_PACKED, DOMAIN


class PackBlast(ir.passes.InPlacePass):
    """Turn ``BlastLinear`` nodes into ``BlastLinearPacked``, their factors packed in the kernel's order.

    The factors become one 1-D initialiser ``<layer>.packed``, which the kernel reads where it lies.
    """

    def __init__(
        self, layers: Collection[str], instruction_set: str, limits: ScheduleLimits | None = None
    ) -> None:
        """Make the pass.

        Args:
            layers: Names of the layers to pack.
            instruction_set: What the artifact promises, as in the operator's contract.
            limits: When the kernel cuts a layer; the library's own by default.
        """
        super().__init__()
        self.layers = layers
        self.instruction_set = instruction_set
        self.limits = limits or ScheduleLimits()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Pack the layers.

        Raises:
            InvalidInputError: If there is no such layer.
        """
        chosen = select(structured_layers(model), self.layers)
        for layer in chosen:
            self._pack(layer)
        drop_unused_bodies(model)
        return ir.passes.PassResult(model, modified=bool(chosen))

    def _pack(self, layer: StructuredLayer) -> None:
        matrix = layer.matrix_later()
        size = packed_size(layer.out_features, layer.in_features, layer.blocks, layer.rank)
        factors = add_initializer(
            layer, "packed", layer.element_type, (size,), lambda: pack(matrix(), layer.dtype)
        )
        attributes: dict[str, int | str] = {
            "in_features": layer.in_features,
            "out_features": layer.out_features,
            "blocks_out": layer.blocks[0],
            "blocks_in": layer.blocks[1],
            "rank": layer.rank,
            "layout_version": LAYOUT_VERSION,
            "instruction_set": self.instruction_set,
            **asdict(self.limits),
        }
        packed = ir.node(
            BLAST_LINEAR_PACKED.name,
            [layer.input, factors, layer.node.inputs[4]],
            attributes,
            domain=DOMAIN,
            name=layer.name,
        )
        replace_layer(layer, [packed])
