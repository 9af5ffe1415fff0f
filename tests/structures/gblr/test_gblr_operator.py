"""The ONNX operator: its body is plain ONNX that folds to two products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from gblr_models import ODD, learned, odd, one_layer
from onnx.reference import ReferenceEvaluator

from blast_deploy.structures.contract import DOMAIN, GBLR_LINEAR, OPSET
from blast_deploy.structures.gblr.operator import function, function_proto

LEVELS = ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL")


def test_body_has_the_contracts_signature_and_only_standard_operators() -> None:
    proto = function_proto()
    assert (proto.domain, proto.name, proto.overload) == (DOMAIN, GBLR_LINEAR.name, "")
    assert list(proto.input) == [item.name for item in GBLR_LINEAR.inputs]
    assert list(proto.output) == [item.name for item in GBLR_LINEAR.outputs]
    assert sorted(proto.attribute) == sorted(item.name for item in GBLR_LINEAR.attributes)
    assert {entry.domain: entry.version for entry in proto.opset_import} == {"": OPSET}
    assert {node.domain for node in proto.node} == {""}
    assert not {node.op_type for node in proto.node} & {"If", "Loop", "Scan", "Einsum"}


def test_each_body_is_a_copy() -> None:
    first, second = function(), function()
    first.remove(first[-1])
    assert len(second) == len(function_proto().node)


@pytest.mark.parametrize("leading", [[], ["rows"], ["batch", "rows"], ["a", "b", "c"]])
def test_checker_and_inference(leading: list[str]) -> None:
    proto = one_layer(odd("wraps-around", np.float32), np.zeros(11, np.float32), leading)
    onnx.checker.check_model(proto, full_check=True)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    axes = inferred.graph.output[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in axes] == [*leading, 11]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("leading", [(3,), (), (0,), (2, 0), (2, 1, 3)])
def test_every_optimisation_level(leading: tuple[int, ...], level: str, dtype: Any) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    matrix, bias = odd("wraps-around", dtype), np.arange(11).astype(dtype)
    proto = one_layer(matrix, bias, [f"axis_{index}" for index in range(len(leading))])
    x = np.random.default_rng(1).standard_normal((*leading, 7)).astype(dtype)
    (y,) = onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, {"x": x})
    truth = matrix.apply(x, bias)
    assert y.dtype == dtype
    tolerance = 32 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, truth, rtol=tolerance, atol=tolerance * abs(truth).max(initial=0))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", [*ODD, "learned"])
def test_masks_fold_to_constants(name: str, dtype: Any, tmp_path: Path) -> None:
    """What is left for run time is two products, the bias, and casts where a type has no product."""
    matrix = learned("query_50", dtype) if name == "learned" else odd(name, dtype)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "folded.onnx")
    proto = one_layer(matrix, np.zeros(matrix.out_features, dtype), ["batch", "rows"])
    onnxruntime.InferenceSession(proto.SerializeToString(), options)
    left = [node.op_type for node in onnx.load(tmp_path / "folded.onnx").graph.node]
    assert [each for each in left if each not in ("Cast", "Add")] in (
        ["MatMul", "MatMul"],
        ["MatMul", "Gemm"],
    )


@pytest.mark.parametrize("width", [6, 8, 1, 14])
def test_another_width_is_an_error(width: int) -> None:
    proto = one_layer(odd("wraps-around", np.float32), np.zeros(11, np.float32), ["rows"])
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "width"
    x = np.zeros((2, width), np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    with pytest.raises(Exception, match="MatMul"):
        session.run(None, {"x": x})
    with pytest.raises((ValueError, TypeError)):
        ReferenceEvaluator(proto).run(None, {"x": x})
