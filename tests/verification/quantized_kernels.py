"""Quantised layers as a kernel would compute them in float32, right and wrong in small ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.factors import LayerFactors
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.quantized_blast.matrix import QuantizedBlastMatrix
from blast_deploy.structures.quantized_blast.quantize import quantize

Array = NDArray[np.float32]
Round = Callable[[Array], Array]


@dataclass(frozen=True)
class Kernel:
    """A float32 implementation of the layer; by default a right one.

    Attributes:
        group: Values that are quantised together.
        rounding: How a value becomes an integer.
        levels: What a group's greatest becomes.
        entering: Whether X is quantised.
        inner: Whether the inner vector is.
        scale: What each output is multiplied with at last.
    """

    group: int = 32
    rounding: Round = np.rint
    levels: int = 127
    entering: bool = True
    inner: bool = True
    scale: float = 1.0

    def run(self, matrix: QuantizedBlastMatrix, bias: Array, x: Array) -> Array:
        b2, _, q = matrix.vq.shape
        floats = matrix.dequantize()
        u, s, v = (factor.astype(np.float32) for factor in (floats.u, floats.s, floats.v))
        padded = np.zeros((len(x), b2 * q), np.float32)
        padded[:, : matrix.in_features] = x
        blocks = padded.reshape(len(x), b2, q)
        blocks = self.quantised(blocks) if self.entering else blocks
        # From the last column to the first: another order of summation than the truth's.
        z = sum(blocks[:, :, None, c] * v[None, :, :, c] for c in reversed(range(q)))
        w = np.einsum("ijr,njr->nir", s, np.asarray(z, np.float32))
        w = self.quantised(w) if self.inner else w
        y = np.einsum("ipr,nir->nip", u, w).reshape(len(x), -1)[:, : matrix.out_features]
        result: Array = (np.float32(self.scale) * y + bias).astype(np.float32)
        return result

    def quantised(self, values: Array) -> Array:
        width = values.shape[-1]
        spare = -width % self.group
        padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, spare)])
        grouped = padded.reshape(*values.shape[:-1], -1, self.group)
        greatest = np.abs(grouped).max(axis=-1, keepdims=True)
        used = np.where(greatest > 0, greatest, np.float32(1))
        levels = np.float32(self.levels)
        found = self.rounding(grouped * (levels / used)) * (used / levels)
        return found.reshape(padded.shape)[..., :width].astype(np.float32)


WRONG = {
    "two percent too large": Kernel(scale=1.02),
    "two percent too small": Kernel(scale=0.98),
    "rounds down": Kernel(rounding=np.floor),
    "cuts off": Kernel(rounding=np.trunc),
    "126 levels": Kernel(levels=126),
    "groups of 64": Kernel(group=64),
    "groups of 16": Kernel(group=16),
    "X is not quantised": Kernel(entering=False),
    "the inner vector is not quantised": Kernel(inner=False),
    "nothing is quantised": Kernel(entering=False, inner=False),
}


def example(
    sizes: tuple[int, int], blocks: tuple[int, int], rank: int, bits: int, rows: int = 40
) -> tuple[LayerFactors, QuantizedBlastMatrix, Array]:
    """A quantised layer of random factors, and rows that enter it."""
    random = np.random.default_rng(3)
    (m, n), (b1, b2) = sizes, blocks
    p, q = -(-m // b1), -(-n // b2)

    def normal(*shape: int) -> Array:
        return random.standard_normal(shape).astype(np.float32)

    matrix = BlastMatrix(
        normal(b1, p, rank), normal(b1, b2, rank), normal(b2, rank, q) / np.float32((n * rank) ** 0.5), m, n
    )
    quantized = quantize(matrix, bits)
    tensors: dict[str, NDArray[Any]] = {**quantized.tensors(), "bias": normal(m) / 4}
    attributes: dict[str, int | str] = {
        "bits": bits,
        "u_block_size": quantized.u_block_size,
        "v_block_size": quantized.v_block_size,
        "activation": "int8",
    }
    return LayerFactors("layer", "QBlastLinear", m, n, tensors, attributes), quantized, normal(rows, n)
