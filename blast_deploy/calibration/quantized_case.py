"""Quantised BLAST layers, of which the integer kernel is timed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from blast_deploy.calibration.blast_case import BlastCase
from blast_deploy.calibration.copies import layer_names, portable_model
from blast_deploy.passes.pack_quantized import PackQuantized
from blast_deploy.planning.layer import LinearLayer, quantized_blast_layer
from blast_deploy.results import CostName, Form
from blast_deploy.structures.quantized_blast import operator
from blast_deploy.structures.quantized_blast.matrix import QuantizedBlastMatrix

_BITS = 8


@dataclass(frozen=True)
class QuantizedCase:
    """A BLAST layer in int8, activations too: factors and activations of one scale a row."""

    timed: ClassVar[Mapping[Form, CostName]] = {"kernel": "quantized_kernel"}

    original: BlastCase

    @property
    def out_features(self) -> int:
        """Width of the layer's output."""
        return self.original.out_features

    @property
    def in_features(self) -> int:
        """Width of its input."""
        return self.original.in_features

    @property
    def rows(self) -> int:
        """Rows of its input."""
        return self.original.rows

    @property
    def copies(self) -> int:
        """How many of the layer follow each other in a model."""
        return self.original.copies

    @property
    def layer(self) -> LinearLayer:
        """The layer as the planner sees it."""
        matrix = self._matrix()
        return quantized_blast_layer(
            "layer",
            dtype="float32",
            out_features=self.out_features,
            in_features=self.in_features,
            blocks=matrix.blocks,
            rank=matrix.rank,
            bits=_BITS,
            block_sizes=(matrix.u_block_size, matrix.v_block_size),
            activation="int8",
            factor_bytes=matrix.bytes,
            scales_fit=True,
        )

    def build(self, form: Form, instruction_set: str) -> ir.Model:
        """Build copies of the layer for the integer kernel."""
        matrix = self._matrix()
        tensors = {**matrix.tensors(), "bias": np.zeros(self.out_features, np.float32)}
        attributes: dict[str, int | str] = {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bits": _BITS,
            "u_block_size": matrix.u_block_size,
            "v_block_size": matrix.v_block_size,
            "activation": "int8",
        }
        model = portable_model(operator.function_proto(), tensors, attributes, self.copies)
        PackQuantized(layer_names(self.copies), instruction_set)(model)
        return model

    def _matrix(self) -> QuantizedBlastMatrix:
        """Integers anywhere, as times do not depend on them; their scales keep outputs near 1."""
        random = np.random.default_rng(0)
        b, r = self.original.blocks, self.original.rank
        p, q = math.ceil(self.out_features / b), math.ceil(self.in_features / b)
        integers = [random.integers(-127, 128, shape, np.int8) for shape in ((b, p, r), (b, b, r), (b, r, q))]
        scales = [np.full((*shape, 1), 1e-4, np.float32) for shape in ((b, p), (b, r))]
        return QuantizedBlastMatrix(
            integers[0],
            scales[0],
            integers[1],
            integers[2],
            scales[1],
            self.out_features,
            self.in_features,
            _BITS,
            r,
            q,
        )
