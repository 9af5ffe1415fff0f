"""The packed layout of GBLR factors: written by the operator library, read back in NumPy.

``custom_ops/gblr/layout.h`` states the layout. ``pack`` is the library's own; ``unpack`` is written apart
from it, so that one checks the other.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.native import Library, address
from blast_deploy.structures.gblr.intervals import IntervalFactor
from blast_deploy.structures.gblr.matrix import GblrMatrix

LAYOUT_VERSION = 2

_TILE, _BUNDLE, _PART = 8, 128, 64

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class _Factors(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_void_p) for name in ("u", "u_start", "u_width", "v", "v_start", "v_width")
    )


def packed_sizes(u: IntervalFactor, v: IntervalFactor) -> tuple[int, int]:
    """Count what packed factors take; their values are not read.

    Args:
        u: The left vectors.
        v: The right vectors.

    Returns:
        Bytes in all, and float weights among them, padding included.

    Raises:
        InvalidInputError: If there are more components than the kernel can tell apart.
    """
    found = (ctypes.c_int64 * 2)()
    arrays = [u.starts, u.widths, v.starts, v.widths]
    u_start, u_width, v_start, v_width = map(np.ascontiguousarray, arrays)
    factors = _Factors(None, *map(_pointer, (u_start, u_width)), None, *map(_pointer, (v_start, v_width)))
    sizes = _sizes(u.size, v.size, u.components)
    Library().call("blast_deploy_gblr_packed_size", sizes, ctypes.byref(factors), found)
    return found[0], found[1]


def pack(matrix: GblrMatrix) -> Bytes:
    """Lay factors out in the order in which the kernels read them, as float32.

    Args:
        matrix: The factors.

    Returns:
        (packed bytes,), the same for all instruction sets.

    Raises:
        InvalidInputError: If there are more components than the kernel can tell apart.
    """
    packed = np.empty(packed_sizes(matrix.u, matrix.v)[0], np.uint8)
    arrays = [
        np.ascontiguousarray(array)
        for factor in (matrix.u, matrix.v)
        for array in (factor.values.astype(np.float32), factor.starts, factor.widths)
    ]
    sizes = _sizes(matrix.out_features, matrix.in_features, matrix.components)
    factors = _Factors(*map(_pointer, arrays))
    Library().call("blast_deploy_gblr_pack", sizes, ctypes.byref(factors), address(packed))
    return packed


def linear(
    packed: Bytes,
    sizes: tuple[int, int, int],
    x: Floats,
    bias: Floats,
    instruction_set: str,
    threads: int = 1,
) -> Floats:
    """Run the kernel of one instruction set, without ONNX Runtime, on one thread.

    Args:
        packed: (packed bytes,).
        sizes: Width m of the result, width n of ``x`` and number K of components.
        x: Float32 (rows, in_features).
        bias: Float32 (out_features,).
        instruction_set: One of ``Library().instruction_sets()``.
        threads: Cut the work as for so many; the results do not depend on it.

    Returns:
        Float32 (rows, out_features).

    Raises:
        InvalidInputError: If a shape or type does not fit, the bytes are no packed factors of these sizes, or
            this machine lacks the instruction set.
    """
    out_features, in_features, _ = sizes
    arrays: dict[str, tuple[NDArray[Any], tuple[int, ...], type]] = {
        "packed": (packed, (packed.size,), np.uint8),
        "x": (x, (x.shape[0], in_features), np.float32),
        "bias": (bias, (out_features,), np.float32),
    }
    for name, (array, shape, dtype) in arrays.items():
        if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
            raise InvalidInputError(
                f"{name} must be contiguous {np.dtype(dtype)} of shape {shape} "
                f"(got {array.dtype} {array.shape})"
            )
    y = np.empty((x.shape[0], out_features), np.float32)
    Library().call(
        "blast_deploy_gblr_linear",
        _sizes(*sizes),
        instruction_set.encode(),
        address(packed),
        ctypes.c_int64(packed.size),
        address(bias),
        address(x),
        ctypes.c_int64(x.shape[0]),
        address(y),
        ctypes.c_int64(threads),
    )
    return y


def unpack(packed: Bytes) -> tuple[Floats, Floats]:
    """Read packed factors back, components in the order in which they are stored.

    Returns:
        Float32 u (K, out_features) and v (K, in_features), written out with zeros.

    Raises:
        InvalidInputError: If there are not as many bytes as their header says.
    """
    version, out_features, in_features, components, listings, *_ = packed[:64].view("<i8")
    if version != LAYOUT_VERSION:
        raise InvalidInputError(f"packed factors must be of layout {LAYOUT_VERSION} (got {version})")
    bundles = -(-components // _BUNDLE)
    v_tiles, u_tiles = (-(-size // _TILE) for size in (in_features, out_features))
    reader = _Reader(packed)
    firsts = reader.part("<i8", v_tiles * bundles + u_tiles + 1)
    index = reader.part("<u2", listings)
    weights = reader.part("<f4", listings * _TILE).reshape(-1, _TILE)
    if reader.position != packed.size or firsts[-1] != listings:
        raise InvalidInputError(f"packed factors must have {reader.position} bytes (got {packed.size})")
    tiles = np.concatenate([np.arange(v_tiles).repeat(bundles), np.arange(u_tiles)])
    tiles = tiles.repeat(np.diff(firsts))
    of_v = np.arange(listings) < firsts[v_tiles * bundles]
    v = np.zeros((components, v_tiles, _TILE), np.float32)
    u = np.zeros((components, u_tiles, _TILE), np.float32)
    for side, chosen in ((v, of_v), (u, ~of_v)):
        side[index[chosen], tiles[chosen]] = weights[chosen]
    return (
        u.reshape(components, u_tiles * _TILE)[:, :out_features],
        v.reshape(components, v_tiles * _TILE)[:, :in_features],
    )


class _Reader:
    """Takes parts from the bytes behind the header."""

    def __init__(self, packed: Bytes) -> None:
        self._packed = packed
        self.position = _PART

    def part(self, dtype: Any, count: int) -> NDArray[Any]:
        size = int(count) * np.dtype(dtype).itemsize
        found: NDArray[Any] = self._packed[self.position : self.position + size].view(dtype)
        self.position += -(-size // _PART) * _PART
        return found


def _pointer(array: NDArray[Any]) -> int:
    return int(array.ctypes.data)


def _sizes(out_features: int, in_features: int, components: int) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * 3)(out_features, in_features, components)
