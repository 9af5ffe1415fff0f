"""Quantising what should not be quantised: one sentence that names the culprit, and nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gblr_models
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from portable_models import LayerSizes, forcing, inputs, random_layers, write_portable
from typer.testing import CliRunner

import blast_deploy as bd
from blast_deploy import model_files
from blast_deploy.cli import app
from blast_deploy.errors import InvalidInputError
from blast_deploy.model_paths import reference_path
from blast_deploy.portable import read_portable
from blast_deploy.quantization import Settings, quantize_model, random_rows

LAYERS = random_layers((LayerSizes(37, 70, (3, 2), 24), LayerSizes(23, 37, (2, 5), 17)))


@pytest.fixture
def portable(tmp_path: Path) -> Path:
    return write_portable(tmp_path, LAYERS)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def strange(value: float) -> Any:
    x = inputs(LAYERS, 2, 3)["x"].copy()
    x[0, 1, 2] = value
    return {"x": x}


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ({"z": np.ones((1, 2, 70), np.float32)}, "input 'x' is missing"),
        ({"x": np.ones((1, 2, 7), np.float32)}, r"must have shape \(batch, sequence, 70\)"),
        ({"x": np.ones((1, 2, 70))}, "must have dtype float32"),
        ({"x": np.ones((0, 2, 70), np.float32)}, "is empty"),
        (strange(np.nan), "NaN or infinity; give other samples|not finite in float64"),
        (strange(np.inf), "NaN or infinity; give other samples|not finite in float64"),
    ],
)
def test_samples_that_cannot_be_used(portable: Path, samples: Any, words: str, beside: bool) -> None:
    if not beside:
        reference_path(portable).unlink()
    np.savez(portable.parent / "own.npz", **samples)
    before = contents(portable.parent)
    with pytest.raises(InvalidInputError, match=words):
        bd.quantize(portable, portable.parent / "quantised.onnx", samples=portable.parent / "own.npz")
    assert contents(portable.parent) == before


def test_a_layer_of_nan_is_named(portable: Path) -> None:
    model = onnx.load(portable)
    for tensor in model.graph.initializer:
        if tensor.name == "block.1.S":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.nan, tensor.name))
    onnx.save(model, portable)
    reference_path(portable).unlink()
    with pytest.raises(InvalidInputError, match=r"layer 'block.1' cannot be quantised: S holds NaN"):
        bd.quantize(portable, portable.parent / "quantised.onnx")


def test_a_layer_that_no_row_enters_stays(portable: Path) -> None:
    model = read_portable(portable)
    rows = {**random_rows(model), "block.1": np.empty((0, 37), np.float32)}
    first, second = quantize_model(model, Settings("int8"), rows, rows)
    assert first.bits == 8
    assert (second.bits, second.error) == (None, None)
    assert second.reason == "no row of the samples enters it, so its error is not known"


def test_other_structures_stay(portable: Path) -> None:
    """A model that auto compressed: one BLAST layer, one of GBLR."""
    model, matrix = onnx.load(portable), gblr_models.random(23, 37, 9, seed=4, dtype=np.float32)
    replaced = next(node for node in model.graph.node if node.name == "block.1")
    replaced.CopyFrom(gblr_models.node("block.1", matrix, replaced.input[0], "y"))
    kept = [each for each in model.graph.initializer if not each.name.startswith("block.1.")]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.initializer.extend(gblr_models.initializers("block.1", matrix, LAYERS[1].bias))
    model.functions.append(gblr_models.function_proto())
    onnx.save(model, portable)
    reference_path(portable).unlink()
    np.savez(portable.parent / "own.npz", **inputs(LAYERS, 3, 4))
    output = portable.parent / "quantised.onnx"
    result = bd.quantize(portable, output, samples=portable.parent / "own.npz")
    assert [layer.bits for layer in result.layers] == [8, None]
    assert result.layers[1].reason == "it is GblrLinear, and only BlastLinear can be quantised"
    onnx.checker.check_model(output, full_check=True)
    bd.compile(output, forcing("kernel"), portable.parent / "artifact")
    found = bd.verify(portable.parent / "artifact", layers=True)
    assert (found.verdict, found.reasons) == ("passed", ())


def test_weights_under_the_name_of_the_output_are_not_replaced(portable: Path) -> None:
    """A model that was renamed still reads its weights under its old name."""
    model = onnx.load(portable)
    renamed = portable.with_name("renamed.onnx")
    onnx.save(model, renamed, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    before = contents(portable.parent)
    with pytest.raises(InvalidInputError, match=r"would replace .*model\.onnx\.data, which .*renamed"):
        bd.quantize(renamed, portable, force=True)
    assert contents(portable.parent) == before


@pytest.mark.parametrize("verb", ["quantize", "compile"])
@pytest.mark.parametrize("name", ["model.onnx", "model.reference.npz"])
def test_the_result_file_is_not_the_model(portable: Path, verb: str, name: str) -> None:
    before = contents(portable.parent)
    target = ["--target", "cpu-stock"] if verb == "compile" else []
    output, result = portable.parent / "quantised.onnx", portable.parent / name
    arguments = [verb, portable, "-o", output, *target, "--json", result, "--force"]
    ended = CliRunner().invoke(app, list(map(str, arguments)))
    assert (ended.exit_code, contents(portable.parent)) == (2, before)
    assert f"--json {result} would overwrite a part of" in " ".join(ended.output.split())


def test_the_result_file_is_no_file_of_the_output(portable: Path) -> None:
    output = portable.parent / "quantised.onnx"
    for place in model_files.files_of(output):
        arguments = ["quantize", portable, "-o", output, "--json", place]
        assert CliRunner().invoke(app, list(map(str, arguments))).exit_code == 2
        assert not place.exists()
