"""Quantised BLAST layers to the operator library's integer kernel."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.rewrite import add_initializer, drop_unused_bodies, replace_layer
from blast_deploy.passes.structured import StructuredLayer, select, structured_layers
from blast_deploy.structures.contract import DOMAIN, Q_BLAST_LINEAR_PACKED
from blast_deploy.structures.quantized_blast.packed_bytes import Format
from blast_deploy.structures.quantized_blast.packing import LAYOUT_VERSION, format_for, pack, packed_size


class PackQuantized(ir.passes.InPlacePass):
    """Turn ``QBlastLinear`` nodes with int8 activations into ``QBlastLinearPacked``.

    The factors and their scales become one 1-D initialiser of bytes, ``<layer>.packed``, which the kernel
    reads where it lies.
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
            InvalidInputError: If there is no such layer, it is not quantised, or there is no kernel for how.
        """
        chosen = select(structured_layers(model), self.layers)
        for layer in chosen:
            self._pack(layer)
        drop_unused_bodies(model)
        return ir.passes.PassResult(model, modified=bool(chosen))

    def _pack(self, layer: StructuredLayer) -> None:
        matrix = layer.quantized_later()
        form = _format(layer)
        size = packed_size(layer.out_features, layer.in_features, layer.blocks, layer.rank, form)
        factors = add_initializer(layer, "packed", ir.DataType.UINT8, (size,), lambda: pack(matrix()))
        attributes: dict[str, int | str] = {
            "in_features": layer.in_features,
            "out_features": layer.out_features,
            "blocks_out": layer.blocks[0],
            "blocks_in": layer.blocks[1],
            "rank": layer.rank,
            "bits": form.bits,
            "block_size": form.block_size,
            "layout_version": LAYOUT_VERSION,
            "instruction_set": self.instruction_set,
        }
        packed = ir.node(
            Q_BLAST_LINEAR_PACKED.name,
            [layer.input, factors, layer.node.inputs[-1]],
            attributes,
            domain=DOMAIN,
            name=layer.name,
        )
        replace_layer(layer, [packed])


def _format(layer: StructuredLayer) -> Format:
    quantisation = layer.quantisation
    if quantisation is None or quantisation.activation != "int8":
        raise InvalidInputError(
            f"layer {layer.name!r} has no integer kernel: it must be quantised with activation int8"
        )
    block_columns = -(-layer.in_features // layer.blocks[1])
    block_sizes = quantisation.u_block_size, quantisation.v_block_size
    try:
        return format_for(quantisation.bits, block_sizes, (layer.rank, block_columns))
    except InvalidInputError as error:
        raise InvalidInputError(f"layer {layer.name!r} cannot be packed: {error}") from error
