"""The operators as ONNX Runtime runs them: results, shapes, threads, types."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from layer_models import Array, Layer, open_model, packed_model, plain_model
from onnx import helper

from blast_deploy.native import MAX_INSTRUCTION_SET_VARIABLE, Library
from blast_deploy.structures.blast import packing

MODELS: dict[str, Callable[..., onnx.ModelProto]] = {
    "BlastLinear": plain_model,
    "BlastLinearPacked": packed_model,
}
ONE_CHUNK, THREE_CHUNKS = Layer(384, 384, (4, 4), 94), Layer(130, 600, (2, 2), 300)


def assert_close(y: Array, layer: Layer, x: Array) -> None:
    """Within the rounding of sums of a few hundred float32 products."""
    expected = layer.matrix.apply(x, layer.bias)
    assert y.shape == expected.shape
    assert y.dtype == np.float32
    np.testing.assert_allclose(
        y, expected, rtol=0, atol=1e-5 * max(1.0, float(np.abs(expected).max(initial=0)))
    )


@pytest.mark.parametrize("operator", MODELS)
@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (1, 1, 1, 4), (71,), (0,), (2, 0, 3)])
def test_any_leading_axes(operator: str, shape: tuple[int, ...]) -> None:
    layer = Layer()
    axes = [f"axis{index}" for index in range(len(shape))]
    session = open_model(MODELS[operator](layer, x_shape=[*axes, layer.in_features]))
    x = layer.rows(*shape)
    assert_close(session.run(None, {"X": x})[0], layer, x)


@pytest.mark.parametrize("operator", MODELS)
@pytest.mark.parametrize(
    "layer",
    [
        Layer(1, 1, (1, 1), 1),
        Layer(7, 5, (3, 4), 1),
        Layer(3, 4, (5, 6), 2),
        Layer(64, 48, (4, 4), 24),
        Layer(50, 34, (9, 2), 161),
    ],
    ids=lambda layer: f"{layer.out_features}x{layer.in_features} {layer.blocks} r{layer.rank}",
)
def test_odd_sizes(operator: str, layer: Layer) -> None:
    x = layer.rows(2, 9)
    assert_close(open_model(MODELS[operator](layer)).run(None, {"X": x})[0], layer, x)


def test_factors_that_are_not_constant() -> None:
    layer = Layer()
    session = open_model(plain_model(layer, constant=False))
    x = layer.rows(2, 3)
    feeds = {"U": layer.matrix.u, "S": layer.matrix.s, "V": layer.matrix.v, "bias": layer.bias}
    assert_close(session.run(None, {"X": x, **feeds})[0], layer, x)
    doubled = session.run(None, {"X": x, **feeds, "S": 2 * layer.matrix.s, "bias": 2 * layer.bias})[0]
    np.testing.assert_allclose(doubled, 2 * layer.matrix.apply(x, layer.bias), atol=1e-3)


def test_packed_factors_that_are_not_constant() -> None:
    """As older runtimes make of float16: they cast the weights of a node that stands alone in every run."""
    layer = Layer()
    session = open_model(packed_model(layer, constant=False))
    x = layer.rows(2, 3)
    feeds = {"X": x, "factors": packing.pack(layer.matrix), "bias": layer.bias}
    assert_close(session.run(None, feeds)[0], layer, x)


@pytest.mark.parametrize("operator", MODELS)
def test_the_output_shape_is_known_before_running(operator: str) -> None:
    (output,) = open_model(MODELS[operator](Layer(), x_shape=["batch", 3, 101])).get_outputs()
    assert output.shape == ["batch", 3, 97]
    assert output.type == "tensor(float)"


def test_an_input_of_unknown_rank_leaves_the_output_open() -> None:
    layer = Layer()
    model = plain_model(layer)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    session = open_model(model)
    for shape in ((4,), (2, 3)):
        x = layer.rows(*shape)
        assert_close(session.run(None, {"X": x})[0], layer, x)


@pytest.mark.parametrize("rows", [1, 16, 71, 128, 423])
@pytest.mark.parametrize(
    "layer", [Layer(384, 384, (4, 4), 94), Layer(130, 600, (2, 2), 300)], ids=["one", "three"]
)
def test_threads_change_no_bit(layer: Layer, rows: int) -> None:
    x = layer.rows(1, rows)
    one, two = (open_model(packed_model(layer), threads).run(None, {"X": x})[0] for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_a_row_does_not_depend_on_its_batch() -> None:
    layer = Layer()
    session = open_model(packed_model(layer))
    x = layer.rows(1, 150)
    together = session.run(None, {"X": x})[0]
    alone = [session.run(None, {"X": x[:, row : row + 1]})[0] for row in range(150)]
    np.testing.assert_array_equal(np.concatenate(alone, axis=1), together)


def test_one_session_serves_many_threads() -> None:
    layer = ONE_CHUNK
    session = open_model(packed_model(layer), threads=2)
    inputs = [layer.rows(1, rows) for rows in (1, 33, 130, 71) * 5]
    expected = [session.run(None, {"X": x})[0] for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: session.run(None, {"X": x})[0], inputs))
    for y, y_expected in zip(found, expected, strict=True):
        np.testing.assert_array_equal(y, y_expected)


@pytest.mark.parametrize("name", Library().instruction_sets())
def test_each_instruction_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Layer()
    x = layer.rows(2, 30)
    packed = open_model(packed_model(layer, attributes={"instruction_set": name})).run(None, {"X": x})[0]
    assert_close(packed, layer, x)
    monkeypatch.setenv(MAX_INSTRUCTION_SET_VARIABLE, name)
    plain = open_model(plain_model(layer)).run(None, {"X": x})[0]
    np.testing.assert_array_equal(plain, packed)


def test_a_type_that_is_no_float_is_refused() -> None:
    with pytest.raises(Exception, match="BlastLinear"):
        open_model(plain_model(Layer(), dtype=onnx.TensorProto.INT32))


def test_nodes_inside_a_branch() -> None:
    layer = Layer()
    x = layer.rows(2, 3)
    model = plain_model(layer)
    graph = model.graph
    branches = []
    for name, node in (
        ("then_branch", graph.node[0]),
        ("else_branch", helper.make_node("Slice", ["X", "from", "to", "axis"], ["Y"])),
    ):
        output = helper.make_tensor_value_info("Y", onnx.TensorProto.FLOAT, None)
        branches.append((name, helper.make_graph([node], name, [], [output])))
    graph.node.remove(graph.node[0])
    graph.node.append(helper.make_node("If", ["condition"], ["Y"], **dict(branches)))
    graph.input.append(helper.make_tensor_value_info("condition", onnx.TensorProto.BOOL, []))
    for name, value in (("from", 0), ("to", layer.out_features), ("axis", 2)):
        graph.initializer.append(helper.make_tensor(name, onnx.TensorProto.INT64, [1], [value]))
    session = open_model(model)
    assert_close(session.run(None, {"X": x, "condition": np.array(True)})[0], layer, x)
    np.testing.assert_array_equal(session.run(None, {"X": x, "condition": np.array(False)})[0], x[..., :97])
