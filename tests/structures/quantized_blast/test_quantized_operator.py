"""The body of QBlastLinear: it means what the truth says, in ONNX Runtime and in onnx.reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import inliner
from onnx.reference import ReferenceEvaluator
from quantized_models import BLOCK_SIZES, GRIDS, SIZES, one_node, random_quantized

from blast_deploy.structures.contract import DOMAIN, Q_BLAST_LINEAR
from blast_deploy.structures.quantized_blast.operator import function, function_proto

LEVELS = ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL")
ACTIVATIONS = ("float", "int8")


def in_runtime(proto: onnx.ModelProto, x: NDArray[Any], level: str = "ENABLE_ALL") -> NDArray[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    found: NDArray[Any] = onnxruntime.InferenceSession(proto.SerializeToString(), options).run(
        None, {"x": x}
    )[0]
    return found


def in_reference(proto: onnx.ModelProto, x: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(all="ignore"):
        (found,) = ReferenceEvaluator(proto).run(None, {"x": x})
    return np.asarray(found)


def check_close(found: NDArray[Any], truth: NDArray[np.float64]) -> None:
    """Rounding of float32, and no flip: where w falls on a half, which these cases avoid by their seeds."""
    assert (found.shape, found.dtype) == (truth.shape, np.float32)
    np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-5 * np.abs(truth).max(initial=1))


def test_body_has_the_contracts_signature_and_only_standard_operators() -> None:
    proto = function_proto()
    assert (proto.domain, proto.name, proto.overload) == (DOMAIN, Q_BLAST_LINEAR.name, "")
    assert list(proto.input) == [item.name for item in Q_BLAST_LINEAR.inputs]
    assert list(proto.output) == [item.name for item in Q_BLAST_LINEAR.outputs]
    assert sorted(proto.attribute) == sorted(item.name for item in Q_BLAST_LINEAR.attributes)
    assert {entry.domain: entry.version for entry in proto.opset_import} == {"": Q_BLAST_LINEAR.opset}
    assert {node.domain for node in proto.node} == {""}
    assert function().identifier() == (DOMAIN, Q_BLAST_LINEAR.name, "")


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("leading", [(3,), (), (0,), (2, 0), (2, 1, 3)])
def test_every_optimisation_level(leading: tuple[int, ...], activation: Any, bits: int) -> None:
    matrix = random_quantized(13, 77, (3, 2), 37, bits=bits, block_sizes=(37, 5))
    bias = np.arange(13, dtype=np.float32)
    proto = one_node(matrix, bias, activation, len(leading))
    x = np.random.default_rng(1).standard_normal((*leading, 77)).astype(np.float32)
    truth = matrix.apply(x, bias, activation)
    for level in LEVELS:
        check_close(in_runtime(proto, x, level), truth)
    check_close(in_reference(proto, x), truth)
    check_close(in_reference(inliner.inline_local_functions(proto), x), truth)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("leading", [0, 1, 3])
def test_checker_and_inference(leading: int, activation: str) -> None:
    proto = one_node(random_quantized(7, 5, (3, 2), 4, bits=4), np.zeros(7, np.float32), activation, leading)
    onnx.checker.check_model(proto, full_check=True)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    assert inferred.graph.output[0].type.tensor_type.elem_type == 1


@settings(max_examples=60, deadline=None)
@given(SIZES, GRIDS, st.integers(1, 50), BLOCK_SIZES, st.sampled_from([8, 4]), st.integers(0, 2))
def test_float_of_any_size(
    size: tuple[int, int],
    blocks: tuple[int, int],
    rank: int,
    block_sizes: tuple[int, int],
    bits: int,
    rows: int,
) -> None:
    matrix = random_quantized(*size, blocks, rank, bits=bits, block_sizes=block_sizes)
    x = np.random.default_rng(1).standard_normal((rows, size[1])).astype(np.float32)
    bias = np.zeros(size[0], np.float32)
    proto = one_node(matrix, bias, "float", 1)
    check_close(in_runtime(proto, x), matrix.apply(x, bias, "float"))


@settings(max_examples=60, deadline=None)
@given(SIZES, GRIDS, st.integers(1, 50), BLOCK_SIZES, st.sampled_from([8, 4]), st.integers(0, 2))
def test_int8_of_any_size_but_for_a_flip(
    size: tuple[int, int],
    blocks: tuple[int, int],
    rank: int,
    block_sizes: tuple[int, int],
    bits: int,
    rows: int,
) -> None:
    matrix = random_quantized(*size, blocks, rank, bits=bits, block_sizes=block_sizes)
    x = np.random.default_rng(1).standard_normal((rows, size[1])).astype(np.float32)
    bias = np.zeros(size[0], np.float32)
    truth = matrix.apply(x, bias, "int8")
    found = in_runtime(one_node(matrix, bias, "int8", 1), x)
    # One w on the other side of a half changes an output by one step of its group times one value of U.
    step = np.abs(matrix.coupled(x)).max(initial=0) / 127 * np.abs(matrix.dequantize().u).max()
    assert found.shape == truth.shape
    assert np.abs(found - truth).max(initial=0) <= 1e-5 * np.abs(truth).max(initial=1) + step


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("run", [in_runtime, in_reference])
def test_what_is_not_finite_comes_out_as_nan(run: Any, bad: float) -> None:
    matrix = random_quantized(6, 40, (2, 1), 5)
    x = np.ones((2, 40), np.float32)
    x[1, 35] = bad
    bias = np.zeros(6, np.float32)
    found = run(one_node(matrix, bias, "int8", 1), x)
    assert np.isnan(found[1]).all()
    assert np.isnan(matrix.apply(x, bias, "int8")[1]).all()
    check_close(found[0], matrix.apply(x[0], bias, "int8"))


def test_rows_of_zeros_give_the_bias() -> None:
    matrix = random_quantized(6, 40, (2, 1), 5)
    bias = np.arange(6, dtype=np.float32)
    found = in_runtime(one_node(matrix, bias, "int8", 1), np.zeros((2, 40), np.float32))
    np.testing.assert_array_equal(found, [bias, bias])


@pytest.mark.parametrize("shape", [(2, 3, 6), (2, 3, 4), (1, 1, 10)])
def test_another_width_is_an_error_even_where_the_counts_agree(shape: tuple[int, ...]) -> None:
    proto = one_node(random_quantized(7, 5, (3, 2), 4), np.zeros(7, np.float32), "int8", 2, width="width")
    with pytest.raises(Exception, match="Reshape"):
        in_runtime(proto, np.zeros(shape, np.float32))
