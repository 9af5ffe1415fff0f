"""The packed layout of a quantised dense weight, as the operator library writes it.

``custom_ops/quantized/dense_layout.h`` states the layout.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.quantized_blast import packed_bytes
from blast_deploy.structures.quantized_blast.packed_bytes import Format, Packed, Sizes

LAYOUT_VERSION = 1


def packed_size(out_features: int, in_features: int, form: Format) -> int:
    """Bytes that a packed weight takes.

    Raises:
        InvalidInputError: If no such matrix exists, or there are no kernels for the format.
    """
    return packed_bytes.packed_size(Sizes(out_features, in_features), form)


def pack(weight: NDArray[np.int8], scale: NDArray[np.float32], form: Format) -> Packed:
    """Lay a weight out in the order in which the kernels read it.

    Args:
        weight: (out_features, in_features), of ``form.bits`` bits.
        scale: (out_features, blocks of a row), what values are worth; at 4 bits exact in bfloat16.
        form: How the weight is quantised.

    Returns:
        (packed_size,), the same for all instruction sets.

    Raises:
        InvalidInputError: If the shapes do not fit each other, there are no kernels for the format, or a
            value or scale does not fit it.
    """
    if weight.ndim != 2:
        raise InvalidInputError(f"a dense weight must have two axes (got shape {weight.shape})")
    out_features, in_features = weight.shape
    sizes = Sizes(out_features, in_features)
    packed_bytes.packed_size(sizes, form)  # refuses formats that there are no kernels for
    needed = (out_features, math.ceil(in_features / form.block_size) if form.block_size else 1)
    if scale.shape != needed:
        raise InvalidInputError(f"scale must be {needed} (got shape {scale.shape})")
    return packed_bytes.pack(sizes, form, (weight, scale))


def linear(
    packed: Packed,
    form: Format,
    x: NDArray[np.float32],
    bias: NDArray[np.float32],
    instruction_set: str,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Run the kernel of one instruction set, without ONNX Runtime, on one thread.

    Args:
        packed: (packed_size,).
        form: What the weight was packed in.
        x: (rows, in_features).
        bias: (out_features,).
        instruction_set: One of ``Library().instruction_sets()``.
        threads: Cut the work as for so many; the results do not depend on it.

    Returns:
        (rows, out_features).

    Raises:
        InvalidInputError: If a shape or type does not fit, or this machine lacks the instruction set.
    """
    if x.ndim != 2 or bias.ndim != 1:
        raise InvalidInputError(
            f"x must have two axes and bias one (got shapes {x.shape} and {bias.shape}); reshape them"
        )
    sizes = Sizes(bias.shape[0], x.shape[1])
    return packed_bytes.linear(packed, sizes, form, x, bias, instruction_set, threads)
