"""GBLR layers to the operator library's packed kernel."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

import onnx_ir as ir

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.pack import PackLayers
from blast_deploy.passes.rewrite import add_initializer
from blast_deploy.passes.structured import StructuredLayer
from blast_deploy.structures.blast.schedule import ScheduleLimits
from blast_deploy.structures.contract import GBLR_LINEAR_PACKED
from blast_deploy.structures.gblr.packing import LAYOUT_VERSION, pack, packed_sizes


class PackGblr(PackLayers):
    """Turn ``GblrLinear`` nodes into ``GblrLinearPacked``, intervals and values packed as bytes."""

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
        if layer.intervals is None or layer.element_type != ir.DataType.FLOAT:
            raise InvalidInputError(
                f"layer {layer.name!r} cannot be packed: it must be a GblrLinear of float "
                f"(got {layer.node.op_type} of {layer.dtype})"
            )
        matrix = layer.gblr_later()
        frame = matrix()
        size, _ = packed_sizes(frame.u, frame.v)
        factors = add_initializer(layer, "packed", ir.DataType.UINT8, (size,), lambda: pack(matrix()))
        attributes = {
            "components": layer.intervals.components,
            "layout_version": LAYOUT_VERSION,
            **asdict(self.limits),
        }
        self._replace(layer, GBLR_LINEAR_PACKED, factors, attributes)
