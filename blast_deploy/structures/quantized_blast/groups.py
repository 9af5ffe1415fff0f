"""Dynamic quantisation of activations: each group of 32 values becomes int8 with a scale of its own."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blast_deploy.structures.contract import QUANTISATION_GROUP, QUANTISATION_LEVELS, SMALLEST_GREATEST

Float64 = NDArray[np.float64]


class Groups(NamedTuple):
    """Quantised values and what they are worth.

    Attributes:
        values: Integers of -127 to 127 as float64 (..., k); NaN throughout a group that held NaN or infinity.
        scales: Float64 (..., ceil(k / 32)), one for each group.
    """

    values: Float64
    scales: Float64

    def dequantized(self) -> Float64:
        """The values that the layer goes on with, (..., k)."""
        spread = np.repeat(self.scales, QUANTISATION_GROUP, axis=-1)
        product: Float64 = self.values * spread[..., : self.values.shape[-1]]
        return product


def quantize_groups(values: NDArray[np.floating]) -> Groups:
    """Quantise along the last axis, groups beginning at each multiple of 32.

    Which integer a value becomes is decided in float32, step by step as the contract says (127 / a, the
    product, rounding halves to even), so that whoever follows it in float32 gets the very same integers. What
    an integer is worth, a / 127, is kept in float64.

    Args:
        values: (..., k); rounded to float32 first.
    """
    narrow = np.asarray(values, np.float32)
    width = narrow.shape[-1]
    count = math.ceil(width / QUANTISATION_GROUP)
    spare = count * QUANTISATION_GROUP - width
    padded = np.pad(narrow, [(0, 0)] * (narrow.ndim - 1) + [(0, spare)])
    grouped = padded.reshape(*narrow.shape[:-1], count, QUANTISATION_GROUP)
    greatest = np.abs(grouped).max(axis=-1, keepdims=True)
    levels = np.float32(QUANTISATION_LEVELS)
    # NaN is not below the limit, and infinity times 0 is NaN: both make their whole group NaN.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inverse = np.where(greatest < np.float32(SMALLEST_GREATEST), np.float32(0), levels / greatest)
        integers = np.rint(grouped * inverse)
        broken = ~np.isfinite(greatest)
    integers = np.where(broken, np.nan, integers.astype(np.float64))
    scales = greatest[..., 0].astype(np.float64) / QUANTISATION_LEVELS
    flat = integers.reshape(*narrow.shape[:-1], count * QUANTISATION_GROUP)[..., :width]
    return Groups(np.ascontiguousarray(flat), np.where(broken[..., 0], 1.0, scales))
