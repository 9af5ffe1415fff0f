"""Quantised BLAST layers to the operator library's integer kernel."""

from __future__ import annotations

import onnx_ir as ir

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.pack import PackLayers
from blast_deploy.passes.rewrite import add_initializer
from blast_deploy.passes.structured import StructuredLayer
from blast_deploy.structures.contract import Q_BLAST_LINEAR_PACKED
from blast_deploy.structures.quantized_blast.packed_bytes import Format
from blast_deploy.structures.quantized_blast.packing import LAYOUT_VERSION, format_for, pack, packed_size


class PackQuantized(PackLayers):
    """Turn ``QBlastLinear`` nodes with int8 activations into ``QBlastLinearPacked``.

    The factors and their scales are packed as bytes.
    """

    def _pack(self, layer: StructuredLayer) -> None:
        matrix = layer.quantized_later()
        form = _format(layer)
        size = packed_size(layer.out_features, layer.in_features, layer.blocks, layer.rank, form)
        factors = add_initializer(layer, "packed", ir.DataType.UINT8, (size,), lambda: pack(matrix()))
        attributes = {
            "blocks_out": layer.blocks[0],
            "blocks_in": layer.blocks[1],
            "rank": layer.rank,
            "bits": form.bits,
            "block_size": form.block_size,
            "layout_version": LAYOUT_VERSION,
        }
        self._replace(layer, Q_BLAST_LINEAR_PACKED, factors, attributes)


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
