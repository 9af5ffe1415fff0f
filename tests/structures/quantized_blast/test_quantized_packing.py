"""The packed layout of quantised factors against NumPy's reading, and its kernels against the truth."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from packed_models import FORMATS, exact_matrix, exact_rows, matrices
from quantized_models import random_quantized

from blast_deploy.errors import InvalidInputError
from blast_deploy.native import Library, library_path
from blast_deploy.structures import contract
from blast_deploy.structures.quantized_blast.matrix import QuantizedBlastMatrix
from blast_deploy.structures.quantized_blast.packed_bytes import Format, Packed
from blast_deploy.structures.quantized_blast.packing import (
    LAYOUT_VERSION,
    format_of,
    linear,
    pack,
    packed_size,
)

Array = NDArray[Any]


class Reader:
    """Takes panels from the front of packed bytes, as custom_ops/quantized/matrix.h describes them."""

    def __init__(self, packed: Packed, form: Format) -> None:
        self.packed, self.form, self.position = packed, form, 0

    def take(self, count: int) -> Packed:
        self.position += count
        return self.packed[self.position - count : self.position]

    def panel(self, rows_left: int, columns: int) -> tuple[Array, Array]:
        """Values (width, columns) and scales (width, blocks of a row)."""
        width = 32 if rows_left > 16 else 16
        values, scales = [], []
        for group in range(math.ceil(columns / 32)):
            if self.form.bits == 8:
                quads = self.take(32 * width).reshape(8, width, 4).astype(np.int64) - 128
            else:
                if group * 32 % self.form.block_size == 0:
                    halves = self.take(64).view(ml_dtypes.bfloat16)[:width]
                    scales.append(halves.astype(np.float32))
                pairs = self.take(16 * width).reshape(4, 1, width, 4)
                both = np.concatenate([pairs & 15, pairs >> 4], axis=1)
                quads = both.reshape(8, width, 4).astype(np.int64) - 8
            values.append(quads.transpose(1, 0, 2).reshape(width, 32))
        if self.form.bits == 8:
            scales.append(self.take(4 * width).view(np.float32))
        return np.concatenate(values, axis=1)[:, :columns], np.stack(scales, axis=1)

    def matrix(self, rows: int, columns: int) -> tuple[Array, Array]:
        panels = [self.panel(rows - first, columns) for first in range(0, rows, 32)]
        values, scales = (np.concatenate(parts)[:rows] for parts in zip(*panels, strict=True))
        return values, scales


def unpack(packed: Packed, matrix: QuantizedBlastMatrix) -> dict[str, Array]:
    """Read factors back in the order that custom_ops/quantized/layout.h states."""
    (b1, b2), r = matrix.blocks, matrix.rank
    p, q = matrix.uq.shape[1], matrix.vq.shape[2]
    reader = Reader(packed, format_of(matrix))
    v: list[list[tuple[Array, Array]]] = [[] for _ in range(b2)]
    s = []
    for first in range(0, r, 32):
        for j in range(b2):
            v[j].append(reader.panel(r - first, q))
        s.append(reader.take(b1 * b2 * 32).view(np.int8).reshape(b1, b2, 32))
        reader.take(-b1 * b2 * 32 % 64)
    u = [reader.matrix(p, r) for _ in range(b1)]
    assert reader.position == packed.size
    return {
        "vq": np.stack([np.concatenate([values for values, _ in panels])[:r] for panels in v]),
        "v_scale": np.stack([np.concatenate([scales for _, scales in panels])[:r] for panels in v]),
        "s": np.concatenate(s, axis=2)[:, :, :r],
        "uq": np.stack([values for values, _ in u]),
        "u_scale": np.stack([scales for _, scales in u]),
    }


def without_padding(matrix: QuantizedBlastMatrix) -> dict[str, Array]:
    """Factors whose rows and columns past the matrix's own are zeros."""
    b1, b2 = matrix.blocks
    p, q = matrix.uq.shape[1], matrix.vq.shape[2]
    rows = np.arange(b1 * p).reshape(b1, p, 1) < matrix.out_features
    columns = np.arange(b2 * q).reshape(b2, 1, q) < matrix.in_features
    size = matrix.v_block_size
    blocks = columns[:, :, ::size] if matrix.v_scale.shape[2] > 1 else columns[:, :, :1]
    return {
        "uq": np.where(rows, matrix.uq, 0),
        "u_scale": np.where(rows, matrix.u_scale, 0),
        "s": matrix.s,
        "vq": np.where(columns, matrix.vq, 0),
        "v_scale": np.where(blocks, matrix.v_scale, 0),
    }


def sizes_of(matrix: QuantizedBlastMatrix) -> tuple[int, int, tuple[int, int], int, Format]:
    return matrix.out_features, matrix.in_features, matrix.blocks, matrix.rank, format_of(matrix)


@given(matrices)
def test_numpy_reads_back_what_was_packed(matrix: QuantizedBlastMatrix) -> None:
    packed = pack(matrix)
    assert packed.shape == (packed_size(*sizes_of(matrix)),)
    expected = without_padding(matrix)
    for name, found in unpack(packed, matrix).items():
        np.testing.assert_array_equal(found, expected[name], err_msg=name)


def test_little_is_lost_to_padding_for_usual_layers() -> None:
    for out_features, in_features, blocks, rank in ((384, 384, (4, 4), 94), (4096, 4096, (16, 16), 992)):
        values = rank * (out_features + in_features)
        coupling = rank * blocks[0] * blocks[1]
        assert packed_size(out_features, in_features, blocks, rank, Format(8, 0)) < 1.07 * values + coupling
        half = packed_size(out_features, in_features, blocks, rank, Format(4, 32))
        assert half < 1.05 * values * (0.5 + 2 / 32) + 1.05 * coupling


@settings(max_examples=60)
@given(matrices, st.one_of(st.integers(0, 20), st.just(71)), st.integers(0, 2**32 - 1))
def test_kernels_of_all_instruction_sets_give_the_truth(
    matrix: QuantizedBlastMatrix, rows: int, seed: int
) -> None:
    x = exact_rows(rows, matrix.in_features, matrix.vq.shape[2], seed)
    bias = np.random.default_rng(seed).standard_normal(matrix.out_features).astype(np.float32)
    expected = matrix.apply(x, bias, "int8")
    size = np.abs(expected).max(initial=1)
    for name in Library().instruction_sets():
        y = linear(pack(matrix), *sizes_of(matrix), x, bias, name)
        np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * size, err_msg=name)


@pytest.mark.parametrize("form", FORMATS)
def test_usual_numbers_are_close_to_the_truth(form: Format) -> None:
    block_size = form.block_size or 4096
    matrix = random_quantized(390, 380, (4, 3), 150, bits=form.bits, block_sizes=(block_size, block_size))
    rounded = {
        name: getattr(matrix, name).astype(ml_dtypes.bfloat16).astype(np.float32)
        for name in ("u_scale", "v_scale")
    }
    matrix = dataclasses.replace(matrix, **rounded)
    x = np.random.default_rng(0).standard_normal((20, 380)).astype(np.float32)
    expected = matrix.apply(x, None, "int8")
    results = [
        linear(pack(matrix), *sizes_of(matrix), x, np.zeros(390, np.float32), name, threads)
        for name in Library().instruction_sets()
        for threads in (1, 2)
    ]
    for y in results:
        # An inner value that lies halfway between two integers may become either.
        assert np.linalg.norm(y - expected) < 1e-4 * np.linalg.norm(expected)
    np.testing.assert_array_equal(results[0], results[1])


def run(
    packed: Array | None = None, x: Array | None = None, bias: Array | None = None, name: str = "x86-64"
) -> Array:
    """A layer of one number, with anything replaced."""
    size = packed_size(1, 1, (1, 1), 1, Format(8, 0))
    return linear(
        np.zeros(size, np.uint8) if packed is None else packed,
        1,
        1,
        (1, 1),
        1,
        Format(8, 0),
        np.zeros((1, 1), np.float32) if x is None else x,
        np.zeros(1, np.float32) if bias is None else bias,
        name,
    )


def inexact() -> QuantizedBlastMatrix:
    matrix = exact_matrix(3, 3, (1, 1), 2, Format(4, 32))
    return dataclasses.replace(matrix, u_scale=matrix.u_scale * np.float32(1.001))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: packed_size(0, 1, (1, 1), 1, Format(8, 0)), "out_features is 0, and must be from 1 to"),
        (lambda: packed_size(1, 1, (1, 1), 1, Format(3, 0)), "bits is 3 and block_size 0, and there are"),
        (lambda: pack(random_quantized(3, 40, (1, 1), 40)), "(got 8 bits in blocks of 32 and 32)"),
        (
            lambda: pack(random_quantized(3, 40, (1, 1), 40, bits=4, block_sizes=(32, 64))),
            "u_block_size and v_block_size both 32 or both 64 (got 4 bits in blocks of 32 and 64)",
        ),
        (lambda: pack(inexact()), "scales of 4-bit blocks must be exact in bfloat16; round them to it"),
        (lambda: run(packed=np.zeros(5, np.uint8)), "packed must be contiguous uint8 of shape"),
        (lambda: run(packed=np.zeros(5, np.float32)), "packed must be contiguous uint8 of shape"),
        (lambda: run(x=np.zeros((1, 2), np.float32)), "x must be contiguous float32 of shape (1, 1)"),
        (lambda: run(x=np.zeros((1, 1))), "x must be contiguous float32 of shape (1, 1) (got float64"),
        (lambda: run(bias=np.zeros(2, np.float32)), "bias must be contiguous float32 of shape (1,)"),
        (lambda: run(name="avx10"), "the instruction set 'avx10' is unknown"),
    ],
)
def test_what_does_not_fit_never_reaches_the_kernel(call: Any, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(sentence)):
        call()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_operator_in_the_runtime(form: Format, threads: int) -> None:
    matrix = exact_matrix(97, 101, (5, 3), 45, form)
    bias = np.random.default_rng(0).standard_normal(97).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(library_path()))
    session = onnxruntime.InferenceSession(model(matrix, bias).SerializeToString(), options)
    assert session.get_outputs()[0].shape == ["rows", 97]
    for rows in (0, 1, 16, 71, 423):
        x = exact_rows(rows, 101, 34, rows)
        residual = np.random.default_rng(rows).standard_normal((rows, 97)).astype(np.float32)
        expected = matrix.apply(x, bias, "int8")
        expected = expected / (1 + np.exp(-expected.clip(-700))) + residual
        (y,) = session.run(None, {"X": x, "residual": residual})
        np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * np.abs(expected).max(initial=1))


def model(matrix: QuantizedBlastMatrix, bias: Array) -> onnx.ModelProto:
    """One QBlastLinearPacked node with SiLU and a residual."""
    out_features, in_features, (b1, b2), rank, form = sizes_of(matrix)
    node = helper.make_node(
        contract.Q_BLAST_LINEAR_PACKED.name,
        ["X", "factors", "bias", "residual"],
        ["Y"],
        domain=contract.DOMAIN,
        in_features=in_features,
        out_features=out_features,
        blocks_out=b1,
        blocks_in=b2,
        rank=rank,
        bits=form.bits,
        block_size=form.block_size,
        layout_version=LAYOUT_VERSION,
        instruction_set=Library().instruction_sets()[0],
        activation="silu",
    )
    float_type = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "layer",
        [
            helper.make_tensor_value_info("X", float_type, ["rows", in_features]),
            helper.make_tensor_value_info("residual", float_type, ["rows", out_features]),
        ],
        [helper.make_tensor_value_info("Y", float_type, None)],
        [numpy_helper.from_array(pack(matrix), "factors"), numpy_helper.from_array(bias, "bias")],
    )
    opsets = [helper.make_opsetid("", contract.OPSET), helper.make_opsetid(contract.DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=contract.IR_VERSION)
