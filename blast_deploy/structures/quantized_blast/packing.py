"""The packed layout of quantised BLAST factors, as the operator library writes it.

``custom_ops/quantized/layout.h`` states the layout.
"""

from __future__ import annotations

from collections.abc import Iterable

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.quantized_blast import packed_bytes
from blast_deploy.structures.quantized_blast.matrix import QuantizedBlastMatrix
from blast_deploy.structures.quantized_blast.packed_bytes import Format, Packed, Sizes

LAYOUT_VERSION = 1


def format_for(bits: int, block_sizes: tuple[int, int], row_lengths: tuple[int, int]) -> Format:
    """How the kernels take factors: bits, and the block size of both (0 for one scale a row).

    Args:
        bits: Of each value.
        block_sizes: Of the rows of U and of V.
        row_lengths: Values of a row of U (the rank) and of V.

    Raises:
        InvalidInputError: If there are no kernels for the block sizes.
    """
    one_scale = all(block >= length for block, length in zip(block_sizes, row_lengths, strict=True))
    if bits == 8 and one_scale:
        return Format(8, 0)
    if bits == 4 and block_sizes in ((32, 32), (64, 64)):
        return Format(4, block_sizes[0])
    sizes = " and ".join(map(str, block_sizes))
    raise InvalidInputError(
        "there are kernels for 8 bits with one scale for each row, and for 4 bits with u_block_size and "
        f"v_block_size both 32 or both 64 (got {bits} bits in blocks of {sizes})"
    )


def scales_fit(bits: int, scales: Iterable[NDArray[np.float32]]) -> bool:
    """Whether the kernels can keep scales as they are: at 4 bits they must be exact in bfloat16."""
    narrow = ml_dtypes.bfloat16
    return bits == 8 or all(np.array_equal(each, each.astype(narrow).astype(np.float32)) for each in scales)


def format_of(matrix: QuantizedBlastMatrix) -> Format:
    """How the kernels take a matrix; see ``format_for``."""
    blocks = matrix.u_block_size, matrix.v_block_size
    return format_for(matrix.bits, blocks, (matrix.uq.shape[2], matrix.vq.shape[2]))


def packed_size(out_features: int, in_features: int, blocks: tuple[int, int], rank: int, form: Format) -> int:
    """Bytes that packed factors take.

    Raises:
        InvalidInputError: If no such matrix exists, or there are no kernels for the format.
    """
    return packed_bytes.packed_size(Sizes(out_features, in_features, blocks, rank), form)


def pack(matrix: QuantizedBlastMatrix) -> Packed:
    """Lay factors out in the order in which the kernels read them.

    Args:
        matrix: The factors; at 4 bits its scales must be exact in bfloat16.

    Returns:
        (packed_size,), the same for all instruction sets.

    Raises:
        InvalidInputError: If there are no kernels for the format, or a scale does not fit it.
    """
    sizes = Sizes(matrix.out_features, matrix.in_features, matrix.blocks, matrix.rank)
    factors = (matrix.uq, matrix.u_scale, matrix.s, matrix.vq, matrix.v_scale)
    return packed_bytes.pack(sizes, format_of(matrix), factors)


def linear(
    packed: Packed,
    out_features: int,
    in_features: int,
    blocks: tuple[int, int],
    rank: int,
    form: Format,
    x: NDArray[np.float32],
    bias: NDArray[np.float32],
    instruction_set: str,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Run the kernel of one instruction set, without ONNX Runtime, on one thread.

    Args:
        packed: (packed_size,).
        out_features: Width m of the result.
        in_features: Width n of ``x``.
        blocks: b1 and b2.
        rank: r.
        form: What the factors were packed in.
        x: (rows, in_features).
        bias: (out_features,).
        instruction_set: One of ``Library().instruction_sets()``.
        threads: Cut the work as for so many; the results do not depend on it.

    Returns:
        (rows, out_features).

    Raises:
        InvalidInputError: If a shape or type does not fit, or this machine lacks the instruction set.
    """
    sizes = Sizes(out_features, in_features, blocks, rank)
    return packed_bytes.linear(packed, sizes, form, x, bias, instruction_set, threads)
