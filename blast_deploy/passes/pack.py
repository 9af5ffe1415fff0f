"""What packing the layers of any structure for their kernel has in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping

import onnx_ir as ir

from blast_deploy.passes.rewrite import drop_unused_bodies, replace_layer
from blast_deploy.passes.structured import StructuredLayer, select, structured_layers
from blast_deploy.structures.contract import DOMAIN, Operator


class PackLayers(ir.passes.InPlacePass):
    """Turn portable nodes into those of a packed operator.

    The factors become one 1-D initialiser ``<layer>.packed``, which the kernel reads where it lies.
    """

    def __init__(self, layers: Collection[str], instruction_set: str) -> None:
        """Make the pass.

        Args:
            layers: Names of the layers to pack.
            instruction_set: What the artifact promises, as in the operator's contract.
        """
        super().__init__()
        self.layers = layers
        self.instruction_set = instruction_set

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Pack the layers.

        Raises:
            InvalidInputError: If there is no such layer, it is of another structure, or there is no kernel
                for it.
        """
        chosen = select(structured_layers(model), self.layers)
        for layer in chosen:
            self._pack(layer)
        drop_unused_bodies(model)
        return ir.passes.PassResult(model, modified=bool(chosen))

    @abstractmethod
    def _pack(self, layer: StructuredLayer) -> None:
        """Pack one layer, and end with :meth:`_replace`."""

    def _replace(
        self,
        layer: StructuredLayer,
        operator: Operator,
        factors: ir.Value,
        attributes: Mapping[str, int | str],
    ) -> None:
        """Put the packed node where the layer's stood; the bias is the last input of all of them."""
        sizes = {"in_features": layer.in_features, "out_features": layer.out_features}
        packed = ir.node(
            operator.name,
            [layer.input, factors, layer.node.inputs[-1]],
            {**sizes, **attributes, "instruction_set": self.instruction_set},
            domain=DOMAIN,
            name=layer.name,
        )
        replace_layer(layer, [packed])
