from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from portable_models import chain, forward, inputs, random_layers

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.promote import evaluate_float64


def model(nodes: list[Any], **initializers: NDArray[Any]) -> onnx.ModelProto:
    """A model of input ``x`` (n) and output ``y``."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def evaluate(built: onnx.ModelProto, x: NDArray[Any]) -> NDArray[np.float64]:
    (outputs,) = evaluate_float64(built, [{"x": x}])
    assert outputs["y"].dtype == np.float64
    return outputs["y"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_structured_model_gives_its_float64_truth(dtype: str) -> None:
    layers = random_layers(dtype=dtype)
    sample = inputs(layers, 2, 3)
    (outputs,) = evaluate_float64(chain(layers), [sample])
    np.testing.assert_allclose(outputs["y"], forward(layers, sample["x"]), rtol=1e-12, atol=1e-12)


def test_the_model_itself_is_left_as_it_is() -> None:
    layers = random_layers()
    built = chain(layers)
    before = built.SerializeToString()
    evaluate_float64(built, [inputs(layers, 2, 3)])
    assert built.SerializeToString() == before


def test_constants_are_wide_in_every_way_to_write_them() -> None:
    third = np.float32(1 / 3)
    nodes = [
        helper.make_node("Constant", [], ["a"], value=numpy_helper.from_array(np.array([third]))),
        helper.make_node("Constant", [], ["b"], value_float=float(third)),
        helper.make_node("Constant", [], ["c"], value_floats=[float(third)]),
        helper.make_node("Shape", ["x"], ["n"]),
        helper.make_node("ConstantOfShape", ["n"], ["d"]),
        helper.make_node("ConstantOfShape", ["n"], ["e"], value=numpy_helper.from_array(np.array([third]))),
        helper.make_node("Sum", ["x", "a", "b", "c", "d", "e"], ["y"]),
    ]
    x = np.array([1.0, 1e-9], np.float32)
    np.testing.assert_array_equal(evaluate(model(nodes), x), x.astype(np.float64) + 4 * float(third))


def test_casts_to_narrow_types_do_not_narrow() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["a", "w"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT),
    ]
    x, w = np.array([1.001], np.float32), np.array([1.0003], np.float16)
    expected = x.astype(np.float64) * w.astype(np.float64)
    np.testing.assert_array_equal(evaluate(model(nodes, w=w), x), expected)


def test_integers_stay_integers() -> None:
    nodes = [
        helper.make_node("Gather", ["w", "i"], ["a"]),
        helper.make_node("Mul", ["x", "a"], ["y"]),
    ]
    built = model(nodes, w=np.array([1.5, 2.5], np.float32), i=np.array([1, 0], np.int64))
    np.testing.assert_array_equal(evaluate(built, np.array([2.0, 4.0], np.float32)), [5.0, 6.0])


def test_subgraphs_are_promoted_too() -> None:
    def branch(value: float) -> onnx.GraphProto:
        tensor = numpy_helper.from_array(np.array([value], np.float32), f"c{value}")
        node = helper.make_node("Add", ["x", f"c{value}"], [f"o{value}"])
        output = helper.make_tensor_value_info(f"o{value}", TensorProto.FLOAT, None)
        return helper.make_graph([node], "branch", [], [output], [tensor])

    node = helper.make_node("If", ["flag"], ["y"], then_branch=branch(0.5), else_branch=branch(2.0))
    built = model([node], flag=np.array(True))
    np.testing.assert_array_equal(evaluate(built, np.array([1.0], np.float32)), [1.5])


def test_normalisation_and_softmax_are_computed_in_float64() -> None:
    nodes = [
        helper.make_node("LayerNormalization", ["x", "s", "b"], ["a"], axis=-1, epsilon=1e-5),
        helper.make_node("Softmax", ["a"], ["y"]),
    ]
    x = np.random.default_rng(0).standard_normal(9).astype(np.float32)
    scale, bias = np.full(9, 1.25, np.float32), np.full(9, 0.5, np.float32)
    wide = x.astype(np.float64)
    normal = 1.25 * (wide - wide.mean()) / np.sqrt(wide.var() + np.float32(1e-5)) + 0.5
    expected = np.exp(normal - normal.max()) / np.exp(normal - normal.max()).sum()
    np.testing.assert_allclose(evaluate(model(nodes, s=scale, b=bias), x), expected, rtol=1e-13)


def test_an_operator_that_cannot_be_evaluated_is_named() -> None:
    built = model([helper.make_node("Fancy", ["x"], ["y"], domain="com.example")])
    built.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(InvalidInputError, match=r"cannot be evaluated in float64.*Fancy"):
        evaluate(built, np.zeros(1, np.float32))


def test_weights_are_read_from_external_data_wherever_they_stand(tmp_path: Path) -> None:
    outer, inner, third = (np.float32(value) * np.arange(1, 4, dtype=np.float32) for value in (0.1, 0.2, 0.3))
    branch = helper.make_graph(
        [helper.make_node("Sum", ["outer", "inner", "x"], ["sum"])],
        "branch",
        [],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(inner, "inner")],
    )
    nodes = [
        helper.make_node("If", ["flag"], ["a"], then_branch=branch, else_branch=branch),
        helper.make_node("Constant", [], ["b"], value=numpy_helper.from_array(third, "third")),
        helper.make_node("Sum", ["a", "b", "outer"], ["y"]),
    ]
    built = model(nodes, outer=outer, flag=np.array(True))
    built.graph.output.append(helper.make_tensor_value_info("outer", TensorProto.FLOAT, [3]))
    path = tmp_path / "model.onnx"
    onnx.save(
        built, path, save_as_external_data=True, location="data", size_threshold=0, convert_attribute=True
    )
    unloaded = onnx.load(path, load_external_data=False)
    assert unloaded.graph.initializer[0].data_location == TensorProto.EXTERNAL
    x = np.array([1.0, 1e-9, 2.0], np.float32)
    (outputs,) = evaluate_float64(unloaded, [{"x": x}], tmp_path)
    wide = [array.astype(np.float64) for array in (outer, inner, x, third, outer)]
    np.testing.assert_array_equal(outputs["y"], np.sum(wide[:3], axis=0) + wide[3] + wide[4])
    np.testing.assert_array_equal(outputs["outer"], wide[0])


def test_a_loop_reads_what_stands_outside_it() -> None:
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["state", "w"], ["next"]),
            helper.make_node("Identity", ["going"], ["still"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    node = helper.make_node("Loop", ["count", "flag", "x"], ["y"], body=body)
    w = np.array([1.1], np.float32)
    built = model([node], count=np.array(3), flag=np.array(True), w=w)
    x = np.array([0.7], np.float32)
    np.testing.assert_allclose(
        evaluate(built, x), x.astype(np.float64) * w.astype(np.float64) ** 3, rtol=1e-15
    )


def test_few_weights_are_in_memory_at_a_time(tmp_path: Path) -> None:
    count, width = 16, 256
    names = [f"w{index}" for index in range(count)]
    nodes = [
        helper.make_node("MatMul", ["x" if index == 0 else f"h{index}", name], [f"h{index + 1}"])
        for index, name in enumerate(names)
    ]
    nodes.append(helper.make_node("Identity", [f"h{count}"], ["y"]))
    weight = np.full((width, width), 1 / width, np.float32)
    path = tmp_path / "model.onnx"
    built = model(nodes, **dict.fromkeys(names, weight))
    onnx.save(built, path, save_as_external_data=True, location="data", size_threshold=0)
    unloaded = onnx.load(path, load_external_data=False)
    x = np.ones((2, width), np.float32)
    tracemalloc.start()
    (outputs,) = evaluate_float64(unloaded, [{"x": x}], tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(outputs["y"], x, rtol=1e-12)
    assert peak < 8 * weight.nbytes
