"""Finding contenders, and refusing those that do not compute the same thing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from onnx_models import scale_model

from blast_deploy.bench.baselines import StockOnnxRuntime, model_files
from blast_deploy.bench.contenders import check_same_inputs, check_same_task, find_sources
from blast_deploy.errors import InvalidInputError


def test_names_are_the_shortest_ends_that_differ(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        scale_model(tmp_path / name / "model.onnx")
    scale_model(tmp_path / "other.onnx")
    names = [source.name for source in find_sources([tmp_path / "a/model.onnx", tmp_path / "other.onnx"])]
    assert names == ["model.onnx", "other.onnx"]
    twins = find_sources([tmp_path / "a/model.onnx", tmp_path / "b/model.onnx"])
    assert [source.name for source in twins] == ["a/model.onnx", "b/model.onnx"]


def test_what_is_no_contender(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with pytest.raises(InvalidInputError, match=r"notes\.txt is neither"):
        find_sources([text])
    with pytest.raises(InvalidInputError, match="does not exist"):
        find_sources([tmp_path / "nothing.onnx"])
    model = scale_model(tmp_path / "m.onnx")
    with pytest.raises(InvalidInputError, match="given 2 times"):
        find_sources([model, Path(os.path.relpath(model))])


def test_stock_runtime_runs_a_file(tmp_path: Path) -> None:
    contender = StockOnnxRuntime(scale_model(tmp_path / "m.onnx", 3.0), threads=1)
    (spec,) = contender.inputs
    assert (spec.name, spec.dtype, spec.shape) == ("x", "float32", ("rows", 4))
    np.testing.assert_array_equal(contender.run({"x": np.ones((2, 4), np.float32)})["y"], np.full((2, 4), 3))
    contender.close()


@pytest.mark.parametrize("keep", [0, 10, 150])
def test_half_a_file_is_refused_in_one_sentence(tmp_path: Path, keep: int) -> None:
    path = scale_model(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InvalidInputError, match="ONNX Runtime cannot open") as refused:
        StockOnnxRuntime(path, threads=1)
    assert "\n" not in str(refused.value)


def test_external_data_counts_and_must_be_there(tmp_path: Path) -> None:
    path = scale_model(tmp_path / "m.onnx", external=True)
    data = tmp_path / "weights.bin"
    assert set(model_files(path)) == {path, data}
    (source,) = find_sources([path])
    assert source.bytes_on_disk == path.stat().st_size + data.stat().st_size
    data.unlink()
    with pytest.raises(InvalidInputError, match=r"weights\.bin, which is missing"):
        model_files(path)


Y = {"y": np.ones((2, 3), np.float32)}


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"z": Y["y"]}, "gives z and first gives y"),
        ({}, "gives nothing"),
        ({"y": np.ones((2, 4), np.float32)}, r"shape \(2, 4\), not \(2, 3\)"),
        ({"y": np.full((2, 3), np.nan, np.float32)}, "not finite"),
        ({"y": np.full((2, 3), np.inf, np.float32)}, "not finite"),
    ],
)
def test_contenders_must_compute_the_same_thing(second: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        check_same_task({"first": Y, "second": second}, "rows=2")


def test_empty_outputs_prove_nothing() -> None:
    with pytest.raises(InvalidInputError, match="is empty"):
        check_same_task({"first": {"y": np.ones((0, 3))}}, "rows=0")


def test_integer_outputs_are_finite() -> None:
    check_same_task({"first": {"y": np.array([1])}, "second": {"y": np.array([2])}}, "rows=1")


def test_other_inputs_are_refused(tmp_path: Path) -> None:
    paths = [scale_model(tmp_path / "a.onnx"), scale_model(tmp_path / "b.onnx", input_name="q")]
    sources = find_sources(paths)
    with pytest.raises(InvalidInputError, match=r"b\.onnx takes q \(float32\) and a\.onnx takes x"):
        check_same_inputs(sources, [StockOnnxRuntime(path, 1) for path in paths])
