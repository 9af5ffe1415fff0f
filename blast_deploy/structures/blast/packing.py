"""The packed layout of BLAST factors: written by the operator library, read back in NumPy.

``custom_ops/blast/layout.h`` states the layout. ``pack`` is the library's own; ``unpack`` is written apart
from it, so that one checks the other.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.element_types import numpy_dtype
from blast_deploy.errors import InvalidInputError
from blast_deploy.native import Library, address, element_number
from blast_deploy.structures.blast.matrix import BlastMatrix

LAYOUT_VERSION = 2

_ALIGNMENT = 16
_LARGEST_CHUNK = 160
_USUAL_CHUNK = 128

Packed = NDArray[Any]
"""Of one of the element types in ``ONNX_NUMBERS``."""


def packed_size(out_features: int, in_features: int, blocks: tuple[int, int], rank: int) -> int:
    """Number of values that packed factors take, whatever their type.

    Raises:
        InvalidInputError: If no such matrix exists.
    """
    size = ctypes.c_int64()
    sizes = sizes_of(out_features, in_features, blocks, rank)
    Library().call("blast_deploy_blast_packed_size", sizes, ctypes.byref(size))
    return size.value


def pack(matrix: BlastMatrix, dtype: str | None = None) -> Packed:
    """Lay factors out in the order in which the kernels read them, padding as zeros.

    Args:
        matrix: The factors.
        dtype: Element type to round them to; by default that of U.

    Returns:
        (packed_size,), the same for all instruction sets.

    Raises:
        InvalidInputError: If there are no kernels for the element type.
    """
    element = numpy_dtype(dtype or matrix.u.dtype.name)
    sizes = (matrix.out_features, matrix.in_features, matrix.blocks, matrix.rank)
    packed = np.empty(packed_size(*sizes), element)
    factors = [np.ascontiguousarray(factor, element) for factor in (matrix.u, matrix.s, matrix.v)]
    Library().call(
        "blast_deploy_blast_pack",
        sizes_of(*sizes),
        element_number(element.name),
        *map(address, factors),
        address(packed),
    )
    return packed


def unpack(
    packed: Packed, out_features: int, in_features: int, blocks: tuple[int, int], rank: int
) -> BlastMatrix:
    """Read packed factors back; padding rows and columns become zeros.

    Raises:
        InvalidInputError: If there are not as many values as the sizes ask for.
    """
    b1, b2 = blocks
    p, q = math.ceil(out_features / b1), math.ceil(in_features / b2)
    reader = _Reader(packed)
    u, s, v = [], [], []
    for chunk in _chunks(rank):
        v.append(np.stack([reader.matrix(q, chunk).T for _ in range(b2)]))
        s.append(reader.rows(b1 * b2, chunk).reshape(b1, b2, chunk))
        u.append(np.stack([reader.matrix(chunk, p).T for _ in range(b1)]))
    if reader.position != packed.size:
        raise InvalidInputError(
            f"packed factors must hold {reader.position} values for {out_features} x {in_features} in "
            f"{b1} x {b2} blocks of rank {rank} (got {packed.size})"
        )
    joined = (np.concatenate(u, axis=2), np.concatenate(s, axis=2), np.concatenate(v, axis=1))
    u_factor, s_factor, v_factor = map(np.ascontiguousarray, joined)
    return BlastMatrix(u_factor, s_factor, v_factor, out_features, in_features)


def linear(
    packed: Packed,
    out_features: int,
    in_features: int,
    blocks: tuple[int, int],
    rank: int,
    x: Packed,
    bias: Packed,
    instruction_set: str,
    threads: int = 1,
) -> Packed:
    """Run the kernel of one instruction set and element type, without ONNX Runtime, on one thread.

    Args:
        packed: (packed_size,); its element type is that of all arrays.
        out_features: Width m of the result.
        in_features: Width n of ``x``.
        blocks: b1 and b2.
        rank: r.
        x: (rows, in_features).
        bias: (out_features,).
        instruction_set: One of ``Library().instruction_sets()``.
        threads: Cut the work as for so many; the results do not depend on it.

    Returns:
        (rows, out_features).

    Raises:
        InvalidInputError: If a shape or type does not fit, or this machine lacks the instruction set.
    """
    needed = packed_size(out_features, in_features, blocks, rank)
    arrays = {
        "packed": (packed, (needed,)),
        "x": (x, (x.shape[0], in_features)),
        "bias": (bias, (out_features,)),
    }
    for name, (array, shape) in arrays.items():
        if array.shape != shape or array.dtype != packed.dtype or not array.flags.c_contiguous:
            raise InvalidInputError(
                f"{name} must be contiguous {packed.dtype} of shape {shape} (got {array.dtype} {array.shape})"
            )
    y = np.empty((x.shape[0], out_features), packed.dtype)
    Library().call(
        "blast_deploy_blast_linear",
        sizes_of(out_features, in_features, blocks, rank),
        element_number(packed.dtype.name),
        instruction_set.encode(),
        address(packed),
        address(bias),
        address(x),
        ctypes.c_int64(x.shape[0]),
        address(y),
        ctypes.c_int64(threads),
    )
    return y


class _Reader:
    """Takes padded matrices from the front of a packed array; past its end it only counts."""

    def __init__(self, packed: Packed) -> None:
        self._packed = packed
        self.position = 0

    def matrix(self, rows: int, columns: int) -> Packed:
        """A rows x columns matrix that is stored as panels."""
        panels, left = [], columns
        while left > 0:
            width = 32 if left > 24 else 16 if left > 8 else 8
            panels.append(self._take(rows * width).reshape(rows, width))
            left -= width
        return np.concatenate(panels, axis=1)[:, :columns]

    def rows(self, rows: int, columns: int) -> Packed:
        """A rows x columns matrix whose rows are padded."""
        padded = _round_up(columns)
        return self._take(rows * padded).reshape(rows, padded)[:, :columns]

    def _take(self, count: int) -> Packed:
        values = np.zeros(count, self._packed.dtype)
        found = self._packed[self.position : self.position + count]
        values[: found.size] = found
        self.position += _round_up(count)
        return values


def _round_up(count: int) -> int:
    return math.ceil(count / _ALIGNMENT) * _ALIGNMENT


def _chunks(rank: int) -> list[int]:
    """Rank components of each chunk."""
    if rank <= _LARGEST_CHUNK:
        return [rank]
    count = math.ceil(rank / _USUAL_CHUNK)
    size = math.ceil(rank / count / 32) * 32
    return [min(size, rank - first) for first in range(0, rank, size)]


def sizes_of(
    out_features: int, in_features: int, blocks: tuple[int, int], rank: int
) -> ctypes.Array[ctypes.c_int64]:
    """The sizes of a matrix as the operator library takes them."""
    return (ctypes.c_int64 * 5)(out_features, in_features, *blocks, rank)
