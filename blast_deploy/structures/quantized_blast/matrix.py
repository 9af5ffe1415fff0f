"""The quantised BLAST matrix in NumPy: what exactly a layer of it computes, and what it costs.

``QBlastLinear`` of the contract says the mathematics. Here integers stay exact and all else is float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.results import Cost
from blast_deploy.structures.blast.matrix import BlastMatrix, check_shapes, cost
from blast_deploy.structures.contract import QUANTISATION_GROUP
from blast_deploy.structures.quantized_blast.groups import Groups, quantize_groups

Float64 = NDArray[np.float64]
Activation = Literal["float", "int8"]
ACTIVATIONS: tuple[Activation, ...] = ("float", "int8")
BITS = (8, 4)
_SCALE_BYTES = 4


@dataclass(frozen=True)
class QuantizedBlastMatrix:
    """An ``out_features x in_features`` matrix of blocks ``U_i diag(S_ij) V_j`` with integer factors.

    Attributes:
        uq: Left factors, int8 (b1, p, r) of ``bits`` bits.
        u_scale: What they are worth, float32 (b1, p, ceil(r / u_block_size)).
        s: Couplings, int8 (b1, b2, r); their scales are in ``v_scale``.
        vq: Right factors, int8 (b2, r, q) of ``bits`` bits.
        v_scale: What they are worth, float32 (b2, r, ceil(q / v_block_size)).
        out_features: Rows m of the matrix; rows of U past it are padding.
        in_features: Columns n of the matrix; columns of V past it are padding.
        bits: 8 or 4.
        u_block_size: Values of a row of U that share a scale.
        v_block_size: Values of a row of V that share a scale.

    Raises:
        InvalidInputError: If the arrays disagree with each other, the sizes or the bits.
    """

    uq: NDArray[np.int8]
    u_scale: NDArray[np.float32]
    s: NDArray[np.int8]
    vq: NDArray[np.int8]
    v_scale: NDArray[np.float32]
    out_features: int
    in_features: int
    bits: int
    u_block_size: int
    v_block_size: int

    def __post_init__(self) -> None:
        check_quantized_shapes(
            {name: getattr(self, name).shape for name in ("uq", "u_scale", "s", "vq", "v_scale")},
            self.out_features,
            self.in_features,
            self.bits,
            (self.u_block_size, self.v_block_size),
        )
        lowest, highest = -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        for name in ("uq", "vq"):
            values = getattr(self, name)
            if values.size and not lowest <= int(values.min()) <= int(values.max()) <= highest:
                raise InvalidInputError(
                    f"{name} must lie in {lowest} to {highest} for {self.bits} bits "
                    f"(got {values.min()} to {values.max()})"
                )

    @classmethod
    def from_operator(
        cls,
        tensors: Mapping[str, NDArray[Any]],
        attributes: Mapping[str, int | str],
        out_features: int,
        in_features: int,
    ) -> Self:
        """Take the inputs and attributes of a ``QBlastLinear`` operator by their names in the contract.

        Raises:
            InvalidInputError: If an attribute is missing, or the arrays disagree.
        """
        sizes = {name: attributes.get(name) for name in ("bits", "u_block_size", "v_block_size")}
        for name, size in sizes.items():
            if not isinstance(size, int):
                raise InvalidInputError(f"{name} must be an integer (got {size!r})")
        return cls(
            tensors["Uq"],
            tensors["U_scale"],
            tensors["S"],
            tensors["Vq"],
            tensors["V_scale"],
            out_features,
            in_features,
            **{name: size for name, size in sizes.items() if isinstance(size, int)},
        )

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The operator's inputs by their names in the contract, in order, without X and the bias."""
        return {
            "Uq": self.uq,
            "U_scale": self.u_scale,
            "S": self.s,
            "Vq": self.vq,
            "V_scale": self.v_scale,
        }

    @property
    def blocks(self) -> tuple[int, int]:
        """Block rows b1 and block columns b2."""
        return self.uq.shape[0], self.vq.shape[0]

    @property
    def rank(self) -> int:
        """Rank r shared by all blocks."""
        return int(self.uq.shape[2])

    @property
    def cost(self) -> Cost:
        """Parameters r(m + n + b1 b2), scales excluded, and two operations for each of them and row."""
        return cost(self.out_features, self.in_features, self.blocks, self.rank)

    @property
    def bytes(self) -> int:
        """What the factors and their scales take in a file, padding included."""
        factors = sum(-(-values.size * self.bits // 8) for values in (self.uq, self.vq))
        return factors + self.s.size + _SCALE_BYTES * (self.u_scale.size + self.v_scale.size)

    def dequantize(self) -> BlastMatrix:
        """The matrix that it stands for, its factors float64 and exact."""
        return BlastMatrix(
            _dequantized(self.uq, self.u_scale, self.u_block_size),
            self.s.astype(np.float64),
            _dequantized(self.vq, self.v_scale, self.v_block_size),
            self.out_features,
            self.in_features,
        )

    def apply(
        self, x: NDArray[np.floating], bias: NDArray[np.floating] | None, activation: Activation
    ) -> Float64:
        """Compute the layer: the truth that every implementation is held to.

        Args:
            x: Rows, float (..., in_features); rounded to float32 where activation is ``int8``.
            bias: Float (out_features,), or None for zeros.
            activation: ``float``: in float64 throughout. ``int8``: X and the inner vector are quantised as
                ``groups.py`` says, and every group's products are summed in integers.

        Returns:
            Float64 (..., out_features).

        Raises:
            InvalidInputError: If the last axis of ``x`` is not in_features long, or there is no such
                activation.
        """
        check_activation(activation)
        if activation == "float":
            return self.dequantize().apply(x, bias)
        if x.shape[-1:] != (self.in_features,):
            raise InvalidInputError(
                f"the last axis of the input must be {self.in_features} (got shape {x.shape})"
            )
        rows = math.prod(x.shape[:-1])
        y = self._outer(self.coupled(x.reshape(rows, self.in_features)))[:, : self.out_features]
        if bias is not None:
            y = y + bias.astype(np.float64)
        return y.reshape(*x.shape[:-1], self.out_features)

    def coupled(self, x: NDArray[np.floating]) -> Float64:
        """The inner vector w_i = sum_j S_ij * (V_j X_j) where X is quantised, not yet quantised itself.

        Args:
            x: (rows, in_features).

        Returns:
            Float64 (b1, rows, r).
        """
        b2, r, q = self.vq.shape
        padded = np.zeros((len(x), b2 * q), np.float32)
        padded[:, : self.in_features] = x
        blocks = padded.reshape(len(x), b2, q)
        z = np.empty((b2, len(x), r))
        for j in range(b2):
            entering = quantize_groups(blocks[:, j])
            z[j] = _products(entering, self.vq[j], self.v_scale[j], self.v_block_size)
        w: Float64 = np.einsum("ijr,jnr->inr", self.s.astype(np.float64), z, optimize=True)
        return w

    def _outer(self, coupled: Float64) -> Float64:
        """U w with w quantised: (b1, rows, r) to (rows, b1 p)."""
        b1, p, _ = self.uq.shape
        y = np.empty((coupled.shape[1], b1, p))
        with np.errstate(over="ignore"):
            narrow = coupled.astype(np.float32)
        for i in range(b1):
            y[:, i] = _products(quantize_groups(narrow[i]), self.uq[i], self.u_scale[i], self.u_block_size)
        return y.reshape(coupled.shape[1], b1 * p)


def check_activation(activation: str) -> Activation:
    """Give a meaning of ``activation`` that there is, or refuse it.

    Raises:
        InvalidInputError: Naming those that there are.
    """
    for known in ACTIVATIONS:
        if activation == known:
            return known
    raise InvalidInputError(f"activation must be {' or '.join(ACTIVATIONS)} (got {activation!r})")


def check_quantized_shapes(
    shapes: dict[str, tuple[int, ...]],
    out_features: int,
    in_features: int,
    bits: int,
    block_sizes: tuple[int, int],
) -> None:
    """Refuse shapes that do not make one quantised BLAST matrix.

    Args:
        shapes: Of ``uq``, ``u_scale``, ``s``, ``vq`` and ``v_scale``.
        out_features: Rows m.
        in_features: Columns n.
        bits: Of each value of Uq and Vq.
        block_sizes: Values that share a scale, of U and of V.

    Raises:
        InvalidInputError: Naming what is wrong and what it must be.
    """
    if bits not in BITS:
        raise InvalidInputError(f"bits must be {' or '.join(map(str, BITS))} (got {bits})")
    if min(block_sizes) < 1:
        raise InvalidInputError(
            f"u_block_size and v_block_size must be positive (got {block_sizes[0]} and {block_sizes[1]})"
        )
    check_shapes(shapes["uq"], shapes["s"], shapes["vq"], out_features, in_features)
    factors = {"U_scale": ("uq", "u_scale"), "V_scale": ("vq", "v_scale")}
    for (name, (factor, scale)), size in zip(factors.items(), block_sizes, strict=True):
        *rows, width = shapes[factor]
        needed = (*rows, math.ceil(width / size))
        if tuple(shapes[scale]) != needed:
            raise InvalidInputError(
                f"{name} must be {needed} for rows of {width} values in blocks of {size} "
                f"(got {tuple(shapes[scale])})"
            )


def spread(scales: NDArray[np.float32], block_size: int, width: int) -> Float64:
    """Repeat each block's scale for every value of the block: (..., blocks) to float64 (..., width)."""
    repeated: Float64 = np.repeat(scales.astype(np.float64), min(block_size, width), axis=-1)[..., :width]
    return repeated


def _dequantized(values: NDArray[np.int8], scales: NDArray[np.float32], block_size: int) -> Float64:
    product: Float64 = values * spread(scales, block_size, values.shape[-1])
    return product


def _products(
    entering: Groups, weights: NDArray[np.int8], scales: NDArray[np.float32], block_size: int
) -> Float64:
    """Products of quantised rows (rows, k) with a factor's rows (count, k): float64 (rows, count).

    Each sum of integers is below 2^53, so float64 holds it exactly, in whatever order it is summed.
    """
    total = np.zeros((len(entering.values), len(weights)))
    for columns in _segments(weights.shape[1], block_size):
        sums = entering.values[:, columns] @ weights[:, columns].T.astype(np.float64)
        entering_scale = entering.scales[:, columns.start // QUANTISATION_GROUP, None]
        total += sums * entering_scale * scales[:, columns.start // block_size].astype(np.float64)
    return total


def _segments(width: int, block_size: int) -> Iterator[slice]:
    """Columns that share both a group's scale and a block's."""
    edges = {*range(0, width, QUANTISATION_GROUP), *range(0, width, block_size), width}
    return (slice(first, last) for first, last in pairwise(sorted(edges)))
