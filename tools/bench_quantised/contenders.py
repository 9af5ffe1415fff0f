"""What is timed: quantised BLAST layers, and what a user would take in their place."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnx
from numpy.typing import NDArray

from blast_deploy.bench.timing import Call
from blast_deploy.native import Library
from blast_deploy.structures import contract
from blast_deploy.structures.quantized_blast import packing as blast_packing
from blast_deploy.structures.quantized_blast.matrix import QuantizedBlastMatrix, spread
from blast_deploy.structures.quantized_blast.packed_bytes import Format
from blast_deploy.structures.quantized_blast.rounding import block_scales
from blast_deploy.structures.quantized_dense import packing as dense_packing
from tools.bench_layers import models
from tools.bench_layers.contenders import GROUP, PAST_THE_CACHES, Caches, Weights
from tools.bench_layers.layers import Layer
from tools.bench_layers.sessions import in_turns, open_session

Name = Literal[
    "int8 BLAST",
    "int4 BLAST",
    "int8 twin",
    "int4 twin",
    "fp32 BLAST",
    "ORT dense fp32",
    "ORT dynamic int8",
    "ORT 4-bit, level 4",
    "ORT 4-bit, level 0",
    "ORT 8-bit, level 4",
]
NAMES: tuple[Name, ...] = get_args(Name)
BLOCK = 32
"""Values that share a scale at 4 bits, in our factors and in ONNX Runtime's MatMulNBits."""

Array = NDArray[Any]
_BITS: dict[Name, int] = {
    "int8 BLAST": 8,
    "int4 BLAST": 4,
    "int8 twin": 8,
    "int4 twin": 4,
    "ORT dynamic int8": 8,
    "ORT 4-bit, level 4": 4,
    "ORT 4-bit, level 0": 4,
    "ORT 8-bit, level 4": 8,
}
_STRUCTURED: frozenset[Name] = frozenset({"int8 BLAST", "int4 BLAST", "fp32 BLAST"})


@dataclass(frozen=True)
class Contender:
    """Copies of one layer in one implementation.

    Attributes:
        name: Which.
        copies: How many layers it has.
        group: How many one run computes.
        weight_bytes: Bytes of one layer's weights, scales and padding left out.
        prepare: Makes such runs on float32 rows (rows, in_features).
        first: What the first layer gives for such rows.
    """

    name: Name
    copies: int
    group: int
    weight_bytes: int
    prepare: Callable[[Array], Call]
    first: Callable[[Array], Array]


def weight_bytes(name: Name, layer: Layer) -> int:
    """Bytes of weights that a contender reads for one layer."""
    parameters = layer.parameters if name in _STRUCTURED else layer.dense_parameters
    return parameters * _BITS.get(name, 32) // 8


def copies_for(name: Name, layer: Layer, caches: Caches, last_cache: int) -> int:
    """How many layers follow each other: cold, their own bytes are twice the last cache or more."""
    if caches == "warm":
        return 1
    copies = math.ceil(PAST_THE_CACHES * last_cache / weight_bytes(name, layer))
    return copies if copies < GROUP else math.ceil(copies / GROUP) * GROUP


def make(name: Name, weights: Weights, copies: int) -> Contender:
    """Make a contender; each of its sessions holds up to ``GROUP`` layers."""
    group = min(copies, GROUP)
    sessions = [open_session(_model(name, weights, group, first)) for first in range(0, copies, group)]
    return Contender(
        name,
        copies,
        group,
        weight_bytes(name, weights.layer),
        in_turns(sessions),
        lambda x: sessions[0].run(["Y0"], {"X": x})[0],
    )


def _model(name: Name, weights: Weights, group: int, first: int) -> onnx.ModelProto:
    """Layers from ``first`` on; those for ONNX Runtime's own kernels are all different."""
    if name == "fp32 BLAST":
        return models.kernel_model(list(weights.matrices(first + group))[first:])
    if name in ("int8 BLAST", "int4 BLAST"):
        return _blast_model(weights, _BITS[name], group)
    denses = list(weights.denses(first + group))[first:]
    if name in ("int8 twin", "int4 twin"):
        return _twin_model(denses, _BITS[name])
    model = models.matmul_model(denses)
    if name == "ORT dense fp32":
        return model
    return _dynamic(model) if name == "ORT dynamic int8" else _nbits(model, _BITS[name], int(name[-1]))


def _blast_model(weights: Weights, bits: int, group: int) -> onnx.ModelProto:
    matrix = _rounded(weights, bits)
    packed = blast_packing.pack(matrix)
    form = blast_packing.format_of(matrix)
    # ONNX Runtime keeps an initializer for each name, equal ones too.
    tensors = [{"factors": packed}] * group
    attributes = {
        "blocks_out": matrix.blocks[0],
        "blocks_in": matrix.blocks[1],
        "rank": matrix.rank,
        "bits": form.bits,
        "block_size": form.block_size,
        "layout_version": blast_packing.LAYOUT_VERSION,
        "instruction_set": Library().instruction_sets()[0],
    }
    sizes = (matrix.out_features, matrix.in_features)
    return models.make_model(contract.Q_BLAST_LINEAR_PACKED.name, tensors, sizes, attributes)


def _twin_model(denses: Sequence[Array], bits: int) -> onnx.ModelProto:
    form = Format(bits, 0 if bits == 8 else BLOCK)
    values, scales = _round(denses[0], bits)
    packed = dense_packing.pack(values, scales, form)
    tensors = [{"weights": packed}] * len(denses)
    attributes = {
        "bits": form.bits,
        "block_size": form.block_size,
        "layout_version": dense_packing.LAYOUT_VERSION,
        "instruction_set": Library().instruction_sets()[0],
    }
    return models.make_model(contract.Q_DENSE_LINEAR_PACKED.name, tensors, denses[0].shape, attributes)


def _rounded(weights: Weights, bits: int) -> QuantizedBlastMatrix:
    """Each factor rounded by itself: times do not depend on how well."""
    matrix, layer = weights.matrix, weights.layer
    couplings = np.abs(matrix.s).max(axis=0) / 127
    s = np.rint(matrix.s / couplings).astype(np.int8)
    uq, u_scale = _round(matrix.u, bits)
    vq, v_scale = _round(matrix.v * couplings[:, :, None], bits)
    blocks = [factor.shape[2] if bits == 8 else BLOCK for factor in (matrix.u, matrix.v)]
    return QuantizedBlastMatrix(
        uq, u_scale, s, vq, v_scale, layer.out_features, layer.in_features, bits, *blocks
    )


def _round(values: Array, bits: int) -> tuple[Array, Array]:
    block = values.shape[-1] if bits == 8 else BLOCK
    scales = block_scales(values.astype(np.float64), bits, block)
    least, most = -(2 ** (bits - 1)) + (bits == 8), 2 ** (bits - 1) - 1
    integers = np.rint(values / spread(scales, block, values.shape[-1])).clip(least, most)
    return integers.astype(np.int8), scales


def _dynamic(model: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX Runtime's dynamic quantisation with its own defaults, weights as QInt8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "dynamic.onnx"
        quantize_dynamic(model, path, weight_type=QuantType.QInt8)
        return onnx.load(path)


def _nbits(model: onnx.ModelProto, bits: int, accuracy_level: int) -> onnx.ModelProto:
    """MatMulNBits: weights of a few bits in symmetric blocks, as large models are deployed."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    with _quiet():
        quantiser = MatMulNBitsQuantizer(
            model, bits=bits, block_size=BLOCK, is_symmetric=True, accuracy_level=accuracy_level
        )
        quantiser.process()
    found: onnx.ModelProto = quantiser.model.model
    return found


class _quiet:
    """Holds back what ONNX Runtime's quantisers log."""

    def __enter__(self) -> None:
        self.level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self.level)


def check(contender: Contender, weights: Weights, tolerance: float) -> float:
    """Relative RMS error against float64; refuses what computes something else.

    Raises:
        ValueError: If the error is above the tolerance.
    """
    x = np.random.default_rng(2).standard_normal((4, weights.layer.in_features), np.float32)
    truth = x.astype(np.float64) @ weights.dense.astype(np.float64).T
    error = float(np.linalg.norm(contender.first(x) - truth) / np.linalg.norm(truth))
    if not error <= tolerance:
        raise ValueError(f"{contender.name} errs by {error:.3f} on {weights.layer.name}, above {tolerance}")
    return error
