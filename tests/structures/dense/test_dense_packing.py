"""The dense twin: its packed layout against NumPy's reading, its kernels and operator against float64."""

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

from blast_deploy.element_types import epsilon, numpy_dtype
from blast_deploy.errors import InvalidInputError
from blast_deploy.native import Library, library_path
from blast_deploy.structures import contract
from blast_deploy.structures.dense.packing import LAYOUT_VERSION, linear, pack, packed_size

Array = NDArray[Any]
sizes = st.tuples(st.integers(1, 140), st.one_of(st.integers(1, 60), st.integers(250, 530)))


def whole_numbers(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Small numbers without zeros: sums of a few products of them are exact."""
    random = np.random.default_rng(seed)
    return (random.integers(1, 4, shape) * random.choice((-1, 1), shape)).astype(np.float32)


def unpack(packed: Array, out_features: int, in_features: int) -> Array:
    """Read a packed weight back, as custom_ops/dense/layout.h describes it."""
    count = -(-in_features // 256)
    segment = -(-in_features // count)
    segments, position = [], 0
    for first in range(0, in_features, segment):
        depth = min(segment, in_features - first)
        panels, left = [], out_features
        while left > 0:
            width = 32 if left > 24 else 16 if left > 8 else 8
            panels.append(packed[position : position + depth * width].reshape(depth, width))
            position += -(-depth * width // 16) * 16
            left -= width
        segments.append(np.concatenate(panels, axis=1)[:, :out_features])
    assert position == packed.size
    return np.concatenate(segments).T


@given(sizes, st.integers(0, 2**32 - 1))
def test_numpy_reads_back_what_was_packed(size: tuple[int, int], seed: int) -> None:
    weight = whole_numbers(size, seed)
    packed = pack(weight)
    assert packed.shape == (packed_size(*size),)
    np.testing.assert_array_equal(unpack(packed, *size), weight)
    assert np.count_nonzero(packed) == weight.size


def test_a_turned_weight_is_taken() -> None:
    weight = whole_numbers((9, 300), 0)
    np.testing.assert_array_equal(pack(np.asfortranarray(weight)), pack(weight))


@settings(max_examples=60)
@given(sizes, st.one_of(st.integers(0, 20), st.just(71)), st.integers(0, 2**32 - 1))
def test_kernels_of_all_instruction_sets_are_exact_on_whole_numbers(
    size: tuple[int, int], rows: int, seed: int
) -> None:
    weight = whole_numbers(size, seed)
    x, bias = whole_numbers((rows, size[1]), seed + 1), whole_numbers((size[0],), seed + 2)
    expected = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
    for name in Library().instruction_sets():
        np.testing.assert_array_equal(linear(pack(weight), x, bias, name), expected, err_msg=name)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_element_types_are_rounded_once(dtype: str) -> None:
    random = np.random.default_rng(3)
    element = numpy_dtype(dtype)
    weight, x, bias = (
        random.standard_normal(shape).astype(element) for shape in ((97, 301), (5, 301), (97,))
    )
    expected = x.astype(np.float64) @ weight.T.astype(np.float64) + bias.astype(np.float64)
    for name in Library().instruction_sets():
        y = linear(pack(weight), x, bias, name).astype(np.float64)
        # Sums of 300 numbers reach 60, and are kept in at least float.
        np.testing.assert_allclose(y, expected, rtol=epsilon(dtype), atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: packed_size(0, 1), "out_features is 0, and must be from 1 to 2147483647"),
        (lambda: packed_size(2**31 - 1, 2**31 - 1), "the packed weight would exceed"),
        (lambda: pack(np.zeros(4, np.float32)), "must have two axes (got shape (4,))"),
        (lambda: pack(np.zeros((2, 2), np.int32)), "there are no kernels for int32"),
        (lambda: run(np.zeros(15, np.float32)), "packs into 16 values (got shape (15,))"),
        (lambda: run(x=np.zeros((1, 1))), "x must be contiguous float32 (got float64)"),
        (
            lambda: run(x=np.zeros(1, np.float32)),
            "x must have two axes and bias one (got shapes (1,)",
        ),
        (lambda: run(name="avx10"), "the instruction set 'avx10' is unknown"),
    ],
)
def test_what_does_not_fit_never_reaches_the_kernel(call: Any, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(sentence)):
        call()


def run(packed: Array | None = None, x: Array | None = None, name: str = "x86-64") -> Array:
    """A layer of one number, with anything replaced."""
    weights = np.zeros(16, np.float32) if packed is None else packed
    rows = np.zeros((1, 1), np.float32) if x is None else x
    return linear(weights, rows, np.zeros(1, np.float32), name)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [0, 1, 16, 71, 423])
def test_the_operator_in_the_runtime(rows: int, threads: int) -> None:
    random = np.random.default_rng(rows)
    weight, bias = random.standard_normal((97, 301), np.float32), random.standard_normal(97, np.float32)
    x = random.standard_normal((rows, 301), np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(library_path()))
    session = onnxruntime.InferenceSession(model(weight, bias).SerializeToString(), options)
    expected = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
    np.testing.assert_allclose(session.run(None, {"X": x})[0], expected, rtol=0, atol=1e-4)
    assert session.get_outputs()[0].shape == ["rows", 97]


def model(weight: Array, bias: Array) -> onnx.ModelProto:
    """One DenseLinearPacked node."""
    out_features, in_features = weight.shape
    node = helper.make_node(
        contract.DENSE_LINEAR_PACKED.name,
        ["X", "weights", "bias"],
        ["Y"],
        domain=contract.DOMAIN,
        in_features=in_features,
        out_features=out_features,
        layout_version=LAYOUT_VERSION,
        instruction_set=Library().instruction_sets()[0],
    )
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, ["rows", in_features])],
        [helper.make_tensor_value_info("Y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(pack(weight), "weights"), numpy_helper.from_array(bias, "bias")],
    )
    opsets = [helper.make_opsetid("", contract.OPSET), helper.make_opsetid(contract.DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=contract.IR_VERSION)
