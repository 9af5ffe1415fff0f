"""Saved models are whole, deterministic, and laid out for mapping."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import blast_models
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from portable_models import LayerSizes, chain, random_layers

from blast_deploy.model_paths import data_path
from blast_deploy.native import Library
from blast_deploy.passes.densify import Densify
from blast_deploy.passes.load import load_model
from blast_deploy.passes.pack_blast import PackBlast
from blast_deploy.passes.save import PAGE, save_mapped
from blast_deploy.passes.structured import structured_layers
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.blast.operator import function_proto


def large_model() -> tuple[ir.Model, BlastMatrix]:
    """One 300 x 200 layer: U and V are over a page each, S and the bias are not."""
    matrix = blast_models.random_matrix(300, 200, (2, 2), 20)
    arrays = {"U": matrix.u, "S": matrix.s, "V": matrix.v, "bias": np.zeros(300, np.float32)}
    node = onnx.helper.make_node(
        "BlastLinear",
        ["x", *arrays],
        ["y"],
        name="only",
        domain="ai.blast",
        in_features=200,
        out_features=300,
    )
    graph = onnx.helper.make_graph(
        [node],
        "large",
        [onnx.helper.make_tensor_value_info("x", 1, ["rows", 200])],
        [onnx.helper.make_tensor_value_info("y", 1, ["rows", 300])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("ai.blast", 1)]
    proto = onnx.helper.make_model(graph, functions=[function_proto()], opset_imports=opsets, ir_version=10)
    return ir.from_proto(proto), matrix


def test_large_weights_lie_on_pages_and_small_ones_inside(tmp_path: Path) -> None:
    model, _ = large_model()
    files = save_mapped(model, tmp_path / "model.onnx")
    assert files == (tmp_path / "model.onnx", data_path(tmp_path / "model.onnx"))
    found = {name: value.const_value for name, value in load_model(files[0]).graph.initializers.items()}
    external = {name: tensor for name, tensor in found.items() if isinstance(tensor, ir.ExternalTensor)}
    assert set(external) == {"U", "V"}
    assert [tensor.offset for tensor in external.values()] == [0, -(-300 * 20 * 4 // PAGE) * PAGE]


def test_runtime_reads_it(tmp_path: Path) -> None:
    model, matrix = large_model()
    path, _ = save_mapped(model, tmp_path / "model.onnx")
    onnx.checker.check_model(path, full_check=True)
    x = np.random.default_rng(0).standard_normal((3, 200)).astype(np.float32)
    (y,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    np.testing.assert_allclose(y, matrix.apply(x), rtol=1e-4, atol=1e-3)


def test_same_model_same_bytes_and_the_model_is_left_alone(tmp_path: Path) -> None:
    model, _ = large_model()
    before = ir.to_proto(model).SerializeToString()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_mapped(model, tmp_path / name / "model.onnx")
    for file in ("model.onnx", "model.onnx.data"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert ir.to_proto(model).SerializeToString() == before


def test_external_weights_are_copied_along(tmp_path: Path) -> None:
    model, matrix = large_model()
    first, _ = save_mapped(model, tmp_path / "model.onnx")
    (tmp_path / "copy").mkdir()
    second, data = save_mapped(load_model(first), tmp_path / "copy" / "model.onnx")
    first.unlink()
    data_path(first).unlink()
    tensor = load_model(second).graph.initializers["V"].const_value
    assert tensor is not None
    np.testing.assert_array_equal(tensor.numpy(), matrix.v)
    assert data.stat().st_size % 4 == 0


def test_small_external_weights_come_inside(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    source = tmp_path / "source" / "model.onnx"
    onnx.save(blast_models.proto(), source, save_as_external_data=True, location="w.bin", size_threshold=0)
    (path,) = save_mapped(load_model(source), tmp_path / "model.onnx")
    onnx.checker.check_model(path, full_check=True)
    assert not any(tensor.external_data for tensor in onnx.load(path).graph.initializer)


def test_a_small_model_is_one_file(tmp_path: Path) -> None:
    model = blast_models.model()
    Densify(["last"])(model)
    assert save_mapped(model, tmp_path / "small.onnx") == (tmp_path / "small.onnx",)


@pytest.mark.parametrize("form", ["kernel", "dense"])
def test_new_weights_are_made_as_they_are_written(tmp_path: Path, form: str) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    write_layers(small, 1, 64)
    write_layers(large, 12, 512)
    rewrite_and_save(small, form)  # what is imported on the way is no weight
    tracemalloc.start()
    data = rewrite_and_save(large, form)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A dense layer takes its weight in float64 and twice in float32 while it is made.
    one_layer = 4 * 512 * 512
    assert data.stat().st_size >= 12 * one_layer / (2 if form == "kernel" else 1)
    assert peak < 5 * one_layer


def write_layers(folder: Path, count: int, width: int) -> None:
    folder.mkdir()
    layers = random_layers([LayerSizes(width, width, (4, 4), width // 4)] * count)
    save_mapped(ir.from_proto(chain(layers)), folder / "source.onnx")


def rewrite_and_save(folder: Path, form: str) -> Path:
    """Give all layers another form; returns the file of the new weights."""
    model = load_model(folder / "source.onnx")
    names = [layer.name for layer in structured_layers(model)]
    passing = PackBlast(names, Library().instruction_sets()[0]) if form == "kernel" else Densify(names)
    passing(model)
    (folder / "made").mkdir()
    _, data = save_mapped(model, folder / "made" / "model.onnx")
    return data
