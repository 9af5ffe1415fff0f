"""GBLR layers to the operator library's packed kernel."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

import onnx_ir as ir

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.rewrite import add_initializer, drop_unused_bodies, replace_layer
from blast_deploy.passes.structured import StructuredLayer, select, structured_layers
from blast_deploy.structures.blast.schedule import ScheduleLimits
from blast_deploy.structures.contract import DOMAIN, GBLR_LINEAR_PACKED
from blast_deploy.structures.gblr.packing import LAYOUT_VERSION, pack, packed_sizes


class PackGblr(ir.passes.InPlacePass):
    """Turn ``GblrLinear`` nodes into ``GblrLinearPacked``, their factors packed in the kernel's order.

    Intervals and values become one 1-D initialiser of bytes, ``<layer>.packed``, which the kernel reads where
    it lies.
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
            InvalidInputError: If there is no such layer, it is no GBLR layer, or there is no kernel for it.
        """
        chosen = select(structured_layers(model), self.layers)
        for layer in chosen:
            self._pack(layer)
        drop_unused_bodies(model)
        return ir.passes.PassResult(model, modified=bool(chosen))

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
        attributes: dict[str, int | str] = {
            "in_features": layer.in_features,
            "out_features": layer.out_features,
            "components": layer.intervals.components,
            "layout_version": LAYOUT_VERSION,
            "instruction_set": self.instruction_set,
            **asdict(self.limits),
        }
        packed = ir.node(
            GBLR_LINEAR_PACKED.name,
            [layer.input, factors, layer.node.inputs[-1]],
            attributes,
            domain=DOMAIN,
            name=layer.name,
        )
        replace_layer(layer, [packed])
