"""The quantised dense twin: its kernels and operator against NumPy, and what never reaches them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from blast_deploy.errors import InvalidInputError
from blast_deploy.native import Library, library_path
from blast_deploy.structures import contract
from blast_deploy.structures.quantized_blast.groups import quantize_groups
from blast_deploy.structures.quantized_blast.packed_bytes import Format
from blast_deploy.structures.quantized_dense.packing import LAYOUT_VERSION, linear, pack, packed_size

Array = NDArray[Any]
INT8 = Format(8, 0)
FORMATS = (INT8, Format(4, 32), Format(4, 64))


def random_weight(size: tuple[int, int], form: Format, seed: int) -> tuple[Array, Array]:
    """Values of all sizes, and scales that bfloat16 holds."""
    random = np.random.default_rng(seed)
    half = 2 ** (form.bits - 1)
    blocks = -(-size[1] // form.block_size) if form.block_size else 1
    scale = random.choice(np.float32([0.5, -0.75, 1.25]), (size[0], blocks))
    return random.integers(-half, half, size).astype(np.int8), scale


def truth(weight: Array, scale: Array, form: Format, x: Array) -> NDArray[np.float64]:
    spread = np.repeat(scale.astype(np.float64), form.block_size or weight.shape[1], axis=1)
    return quantize_groups(x).dequantized() @ (weight * spread[:, : weight.shape[1]]).T


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 140), st.one_of(st.integers(1, 60), st.integers(500, 1100))),
    st.sampled_from(FORMATS),
    st.one_of(st.integers(0, 20), st.just(71)),
    st.integers(0, 2**32 - 1),
)
def test_kernels_of_all_instruction_sets_give_the_truth(
    size: tuple[int, int], form: Format, rows: int, seed: int
) -> None:
    weight, scale = random_weight(size, form, seed)
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, size[1])).astype(np.float32)
    bias = random.standard_normal(size[0]).astype(np.float32)
    expected = truth(weight, scale, form, x) + bias
    packed = pack(weight, scale, form)
    assert packed.shape == (packed_size(*size, form),)
    for name in Library().instruction_sets():
        y = linear(packed, form, x, bias, name)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max(initial=1))
        np.testing.assert_array_equal(linear(packed, form, x, bias, name, threads=3), y)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: packed_size(0, 1, INT8), "out_features is 0, and must be from 1 to 2147483647"),
        (lambda: packed_size(2**31 - 1, 2**31 - 1, INT8), "the packed weight would exceed"),
        (lambda: pack(np.zeros(4, np.int8), np.ones(4, np.float32), INT8), "must have two axes"),
        (
            lambda: pack(np.zeros((2, 33), np.int8), np.ones((2, 1), np.float32), Format(4, 32)),
            "scale must be (2, 2) (got shape (2, 1))",
        ),
        (
            lambda: pack(np.full((1, 1), 8, np.int8), np.ones((1, 1), np.float32), Format(4, 32)),
            "the weight holds 8, and values of 4 bits must be from -8 to 7",
        ),
        (lambda: pack(np.zeros((1, 1), np.int8), np.ones((1, 1), np.float32), Format(8, 32)), "bits is 8"),
        (lambda: run(x=np.zeros(1, np.float32)), "x must have two axes and bias one (got shapes (1,)"),
        (lambda: run(packed=np.zeros(15, np.uint8)), "packed must be contiguous uint8 of shape"),
        (lambda: run(name="avx10"), "the instruction set 'avx10' is unknown"),
    ],
)
def test_what_does_not_fit_never_reaches_the_kernel(call: Any, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(sentence)):
        call()


def run(packed: Array | None = None, x: Array | None = None, name: str = "x86-64") -> Array:
    """A layer of one number, with anything replaced."""
    weights = np.zeros(packed_size(1, 1, INT8), np.uint8) if packed is None else packed
    rows = np.zeros((1, 1), np.float32) if x is None else x
    return linear(weights, INT8, rows, np.zeros(1, np.float32), name)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_operator_in_the_runtime(form: Format, threads: int) -> None:
    weight, scale = random_weight((97, 301), form, 0)
    bias = np.random.default_rng(0).standard_normal(97).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(library_path()))
    session = onnxruntime.InferenceSession(model(weight, scale, form, bias).SerializeToString(), options)
    assert session.get_outputs()[0].shape == ["rows", 97]
    for rows in (0, 1, 16, 71, 423):
        x = np.random.default_rng(rows).standard_normal((rows, 301)).astype(np.float32)
        expected = truth(weight, scale, form, x) + bias
        (y,) = session.run(None, {"X": x})
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max(initial=1))


def model(weight: Array, scale: Array, form: Format, bias: Array) -> onnx.ModelProto:
    """One QDenseLinearPacked node."""
    out_features, in_features = weight.shape
    node = helper.make_node(
        contract.Q_DENSE_LINEAR_PACKED.name,
        ["X", "weights", "bias"],
        ["Y"],
        domain=contract.DOMAIN,
        in_features=in_features,
        out_features=out_features,
        bits=form.bits,
        block_size=form.block_size,
        layout_version=LAYOUT_VERSION,
        instruction_set=Library().instruction_sets()[0],
    )
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, ["rows", in_features])],
        [helper.make_tensor_value_info("Y", onnx.TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(pack(weight, scale, form), "weights"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    opsets = [helper.make_opsetid("", contract.OPSET), helper.make_opsetid(contract.DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=contract.IR_VERSION)
