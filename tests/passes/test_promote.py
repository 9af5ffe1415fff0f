from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from portable_models import chain, forward, inputs, random_layers

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.promote import evaluate_float64, promote_to_float64


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
    built = chain(random_layers())
    before = built.SerializeToString()
    promote_to_float64(built)
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
