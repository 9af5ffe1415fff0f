"""The packed layout of a dense weight, as the operator library writes it.

``custom_ops/dense/layout.h`` states the layout.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.element_types import numpy_dtype
from blast_deploy.errors import InvalidInputError
from blast_deploy.native import Library, address, element_number

LAYOUT_VERSION = 1

Array = NDArray[Any]
"""Of one of the element types in ``ONNX_NUMBERS``."""


def packed_size(out_features: int, in_features: int) -> int:
    """Number of values that a packed weight takes, whatever their type.

    Raises:
        InvalidInputError: If no such matrix exists.
    """
    size = ctypes.c_int64()
    sizes = _sizes(out_features, in_features)
    Library().call("blast_deploy_dense_packed_size", *sizes, ctypes.byref(size))
    return size.value


def pack(weight: Array, dtype: str | None = None) -> Array:
    """Lay a weight out in the order in which the kernels read it.

    Args:
        weight: (out_features, in_features).
        dtype: Element type to round it to; by default its own.

    Returns:
        (packed_size,), the same for all instruction sets.

    Raises:
        InvalidInputError: If there are no kernels for the element type, or the weight is no matrix.
    """
    if weight.ndim != 2:
        raise InvalidInputError(f"a dense weight must have two axes (got shape {weight.shape})")
    element = numpy_dtype(dtype or weight.dtype.name)
    out_features, in_features = weight.shape
    packed = np.empty(packed_size(out_features, in_features), element)
    values = np.ascontiguousarray(weight, element)
    Library().call(
        "blast_deploy_dense_pack",
        *_sizes(out_features, in_features),
        element_number(element.name),
        address(values),
        address(packed),
    )
    return packed


def linear(packed: Array, x: Array, bias: Array, instruction_set: str) -> Array:
    """Run the kernel of one instruction set and element type, without ONNX Runtime, on one thread.

    Args:
        packed: (packed_size,); its element type is that of all arrays.
        x: (rows, in_features).
        bias: (out_features,).
        instruction_set: One of ``Library().instruction_sets()``.

    Returns:
        (rows, out_features).

    Raises:
        InvalidInputError: If a shape or type does not fit, or this machine lacks the instruction set.
    """
    if x.ndim != 2 or bias.ndim != 1:
        raise InvalidInputError(
            f"x must have two axes and bias one (got shapes {x.shape} and {bias.shape}); reshape them"
        )
    (rows, in_features), (out_features,) = x.shape, bias.shape
    if packed.shape != (packed_size(out_features, in_features),):
        raise InvalidInputError(
            f"a weight of {out_features} x {in_features} packs into {packed_size(out_features, in_features)} "
            f"values (got shape {packed.shape})"
        )
    for name, array in (("packed", packed), ("x", x), ("bias", bias)):
        if array.dtype != packed.dtype or not array.flags.c_contiguous:
            raise InvalidInputError(f"{name} must be contiguous {packed.dtype} (got {array.dtype})")
    y = np.empty((rows, out_features), packed.dtype)
    Library().call(
        "blast_deploy_dense_linear",
        *_sizes(out_features, in_features),
        element_number(packed.dtype.name),
        instruction_set.encode(),
        address(packed),
        address(bias),
        address(x),
        ctypes.c_int64(rows),
        address(y),
    )
    return y


def _sizes(out_features: int, in_features: int) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    return ctypes.c_int64(out_features), ctypes.c_int64(in_features)
