"""The ONNX operator: its schema is the contract, its body is plain ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from blast_deploy.runtime import release
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.blast.operator import function, function_proto, schema
from blast_deploy.structures.contract import BLAST_LINEAR, DOMAIN, OPERATORS, OPSET, Operator

LEVELS = ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL")


def matrix(dtype: Any = np.float32) -> BlastMatrix:
    """7 x 5 in 3 x 2 blocks: neither size divides."""
    generator = np.random.default_rng(0)
    shapes = ((3, 3, 4), (3, 2, 4), (2, 4, 3))
    return BlastMatrix(*(generator.standard_normal(shape).astype(dtype) for shape in shapes), 7, 5)


def model(leading: list[str], width: int | str = 5, dtype: Any = np.float32) -> onnx.ModelProto:
    """One node; the output's shape is left to inference."""
    weight = matrix(dtype)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    tensors = {"U": weight.u, "S": weight.s, "V": weight.v, "bias": np.arange(7).astype(dtype)}
    node = helper.make_node(
        "BlastLinear", ["x", *tensors], ["y"], domain=DOMAIN, in_features=5, out_features=7
    )
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", element, [*leading, width])],
        [helper.make_tensor_value_info("y", element, [*leading, 7])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, functions=[function_proto()], opset_imports=opsets, ir_version=10)


@pytest.mark.parametrize("operator", OPERATORS)
def test_schema_is_the_contract(operator: Operator) -> None:
    found = schema(operator)
    assert (found.domain, found.name, found.since_version) == (DOMAIN, operator.name, operator.since_version)
    assert [item.name for item in found.inputs] == [item.name for item in operator.inputs]
    assert [item.name for item in found.outputs] == [item.name for item in operator.outputs]
    assert set(found.attributes) == {item.name for item in operator.attributes}
    required = {name for name, attribute in found.attributes.items() if attribute.required}
    assert required == {item.name for item in operator.attributes if item.default is None}
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    assert [item.option == variadic for item in found.inputs] == [item.variadic for item in operator.inputs]
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    assert [item.option == optional for item in found.inputs] == [item.optional for item in operator.inputs]
    allowed = {item.type_param_str: set(item.allowed_type_strs) for item in found.type_constraints}
    expected = {"T": operator.types, "Q": operator.quantised_types}
    assert allowed == {key: {f"tensor({name})" for name in types} for key, types in expected.items() if types}
    types = [item.type if item.type in expected else f"tensor({item.type})" for item in operator.inputs]
    assert [item.type_str for item in found.inputs] == types


def test_body_has_the_contracts_signature_and_only_standard_operators() -> None:
    proto = function_proto()
    assert (proto.domain, proto.name, proto.overload) == (DOMAIN, BLAST_LINEAR.name, "")
    assert list(proto.input) == [item.name for item in BLAST_LINEAR.inputs]
    assert list(proto.output) == [item.name for item in BLAST_LINEAR.outputs]
    assert sorted(proto.attribute) == sorted(item.name for item in BLAST_LINEAR.attributes)
    assert {entry.domain: entry.version for entry in proto.opset_import} == {"": OPSET}
    used = {node.op_type for node in proto.node}
    assert {node.domain for node in proto.node} == {""}
    assert not used & {"If", "Loop", "Scan", "Einsum"}


def test_each_body_is_a_copy() -> None:
    first, second = function(), function()
    first.remove(first[-1])
    assert len(second) == len(function_proto().node)


@pytest.mark.parametrize("leading", [[], ["rows"], ["batch", "rows"], ["a", "b", "c"]])
def test_checker_and_inference(leading: list[str]) -> None:
    proto = model(leading)
    onnx.checker.check_model(proto, full_check=True)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    axes = inferred.graph.output[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in axes] == [*leading, 7]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("leading", [(3,), (), (0,), (2, 0), (2, 1, 3)])
def test_every_optimisation_level(leading: tuple[int, ...], level: str, dtype: Any) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    names = [f"axis_{index}" for index in range(len(leading))]
    proto = model(names, dtype=dtype).SerializeToString()
    # What stock runtimes up to 1.25 get wrong: they have no kernel for what they fuse in float64.
    wrong = dtype == np.float64 and release(onnxruntime.__version__) < (1, 26)
    session = onnxruntime.InferenceSession(
        proto, options, disabled_optimizers=["MatmulTransposeFusion"] if wrong else None
    )
    x = np.random.default_rng(1).standard_normal((*leading, 5)).astype(dtype)
    truth = matrix(dtype).apply(x, np.arange(7))
    (y,) = session.run(None, {"x": x})
    assert y.dtype == dtype
    tolerance = 32 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, truth, rtol=tolerance, atol=tolerance * abs(truth).max(initial=0))


@pytest.mark.parametrize("shape", [(2, 3, 6), (2, 3, 4), (2, 5, 1), (5, 2, 4), (1, 1, 10), (2, 1, 15)])
def test_another_width_is_an_error_even_where_the_counts_agree(shape: tuple[int, ...]) -> None:
    proto = model(["batch", "rows"], width="width")
    x = np.zeros(shape, np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    with pytest.raises(Exception, match="Reshape"):
        session.run(None, {"x": x})
    with pytest.raises(ValueError, match="cannot reshape"):
        ReferenceEvaluator(proto).run(None, {"x": x})


def test_it_works_inside_a_branch() -> None:
    proto = model(["rows"])
    node, condition = proto.graph.node[0], helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", 7])
    other = helper.make_node("Expand", ["bias", "shape"], ["y"])
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1, 7]), "shape"))
    branches = [
        helper.make_graph([each], name, [], [output]) for each, name in ((node, "yes"), (other, "no"))
    ]
    choice = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    del proto.graph.node[:]
    proto.graph.node.append(choice)
    proto.graph.input.append(condition)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    x = np.ones((2, 5), np.float32)
    truth = matrix().apply(x, np.arange(7))
    np.testing.assert_allclose(
        session.run(None, {"x": x, "c": np.array(True)})[0], truth, rtol=1e-5, atol=1e-5
    )
