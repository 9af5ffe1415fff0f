"""BLAST layers to the operator library's packed kernel."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

from blast_deploy.passes.pack import PackLayers
from blast_deploy.passes.rewrite import add_initializer
from blast_deploy.passes.structured import StructuredLayer
from blast_deploy.structures.blast.packing import LAYOUT_VERSION, pack, packed_size
from blast_deploy.structures.blast.schedule import ScheduleLimits
from blast_deploy.structures.contract import BLAST_LINEAR_PACKED


class PackBlast(PackLayers):
    """Turn ``BlastLinear`` nodes into ``BlastLinearPacked``, their factors packed in the kernel's order."""

    def __init__(
        self, layers: Collection[str], instruction_set: str, limits: ScheduleLimits | None = None
    ) -> None:
        """Make the pass.

        Args:
            layers: Names of the layers to pack.
            instruction_set: What the artifact promises, as in the operator's contract.
            limits: When the kernel cuts a layer; the library's own by default.
        """
        super().__init__(layers, instruction_set)
        self.limits = limits or ScheduleLimits()

    def _pack(self, layer: StructuredLayer) -> None:
        matrix = layer.matrix_later()
        size = packed_size(layer.out_features, layer.in_features, layer.blocks, layer.rank)
        factors = add_initializer(
            layer, "packed", layer.element_type, (size,), lambda: pack(matrix(), layer.dtype)
        )
        attributes = {
            "blocks_out": layer.blocks[0],
            "blocks_in": layer.blocks[1],
            "rank": layer.rank,
            "layout_version": LAYOUT_VERSION,
            **asdict(self.limits),
        }
        self._replace(layer, BLAST_LINEAR_PACKED, factors, attributes)
