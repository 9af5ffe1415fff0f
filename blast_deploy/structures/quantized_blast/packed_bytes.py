"""Calls of the operator library that pack quantised layers and run their kernels: BLAST and dense alike."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.native import Library, address

Packed = NDArray[np.uint8]

_FACTOR_TYPES = (np.int8, np.float32, np.int8, np.int8, np.float32)
_CACHE_LINE = 64


class Format(NamedTuple):
    """How weights are quantised.

    Attributes:
        bits: 8 or 4.
        block_size: Values of a row that share a scale: 32 or 64 at 4 bits; 0 at 8 bits, for all of them.
    """

    bits: int
    block_size: int


class Sizes(NamedTuple):
    """Of a layer; a dense one has no blocks and no rank.

    Attributes:
        out_features: Width m of Y.
        in_features: Width n of X.
        blocks: b1 and b2.
        rank: r.
    """

    out_features: int
    in_features: int
    blocks: tuple[int, int] = (0, 0)
    rank: int = 0


def packed_size(sizes: Sizes, form: Format) -> int:
    """Bytes that a packed layer takes.

    Raises:
        InvalidInputError: If no such layer exists, or there are no kernels for the format.
    """
    size = ctypes.c_int64()
    Library().call("blast_deploy_quantized_packed_size", _numbers(sizes, form), ctypes.byref(size))
    return size.value


def pack(sizes: Sizes, form: Format, factors: tuple[NDArray[Any], ...]) -> Packed:
    """Lay a layer out in the order in which the kernels read it.

    Args:
        sizes: Of the layer.
        form: How its weights are quantised.
        factors: Uq (int8), U_scale (float32), S (int8), Vq (int8) and V_scale (float32) as QBlastLinear has
            them; of a dense layer its weight and their scales. Their shapes must fit the sizes.

    Returns:
        (packed_size,), beginning on a cache line.

    Raises:
        InvalidInputError: If a value or scale does not fit the format.
    """
    size = packed_size(sizes, form)
    memory = np.empty(size + _CACHE_LINE, np.uint8)
    first = -memory.ctypes.data % _CACHE_LINE
    packed = memory[first : first + size]
    arrays = [
        np.ascontiguousarray(factor, dtype) for factor, dtype in zip(factors, _FACTOR_TYPES, strict=False)
    ]
    pointers = [address(array) for array in arrays] + [None] * (len(_FACTOR_TYPES) - len(arrays))
    given = (ctypes.c_void_p * len(_FACTOR_TYPES))(*pointers)
    Library().call("blast_deploy_quantized_pack", _numbers(sizes, form), given, address(packed))
    return packed


def linear(
    packed: Packed,
    sizes: Sizes,
    form: Format,
    x: NDArray[np.float32],
    bias: NDArray[np.float32],
    instruction_set: str,
    threads: int,
) -> NDArray[np.float32]:
    """Run a layer's kernel without ONNX Runtime, on one thread, cut as for several.

    Args:
        packed: (packed_size,).
        sizes: Of the layer.
        form: What it was packed in.
        x: (rows, in_features).
        bias: (out_features,).
        instruction_set: One of ``Library().instruction_sets()``.
        threads: Cut the work as for so many.

    Returns:
        (rows, out_features).

    Raises:
        InvalidInputError: If a shape or type does not fit, or this machine lacks the instruction set.
    """
    rows = len(x)
    needed: dict[str, tuple[NDArray[Any], tuple[int, ...], type[Any]]] = {
        "packed": (packed, (packed_size(sizes, form),), np.uint8),
        "x": (x, (rows, sizes.in_features), np.float32),
        "bias": (bias, (sizes.out_features,), np.float32),
    }
    for name, (array, shape, dtype) in needed.items():
        if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
            raise InvalidInputError(
                f"{name} must be contiguous {np.dtype(dtype)} of shape {shape} "
                f"(got {array.dtype} {array.shape})"
            )
    y = np.empty((rows, sizes.out_features), np.float32)
    Library().call(
        "blast_deploy_quantized_linear",
        _numbers(sizes, form),
        instruction_set.encode(),
        address(packed),
        address(bias),
        address(x),
        ctypes.c_int64(rows),
        address(y),
        ctypes.c_int64(threads),
    )
    return y


def _numbers(sizes: Sizes, form: Format) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * 7)(sizes.out_features, sizes.in_features, *sizes.blocks, sizes.rank, *form)
