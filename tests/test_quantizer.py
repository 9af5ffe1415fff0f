"""Portable file to quantised portable file: what it loses is measured, and what loses too much stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from portable_models import (
    Layer,
    LayerSizes,
    dense_model,
    forcing,
    forward,
    inputs,
    random_layers,
    write_portable,
)

import blast_deploy as bd
from blast_deploy import model_files, reference
from blast_deploy.artifact import open_artifact
from blast_deploy.errors import InvalidInputError, OutputExistsError
from blast_deploy.model_paths import reference_path
from blast_deploy.portable import read_portable

SIZES = (LayerSizes(37, 70, (3, 2), 24), LayerSizes(23, 37, (2, 5), 17))
"""Sizes that do not divide; more than one group of 32 values."""


@pytest.fixture
def layers() -> tuple[Layer, ...]:
    return random_layers(SIZES)


@pytest.fixture
def portable(tmp_path: Path, layers: tuple[Layer, ...]) -> Path:
    return write_portable(tmp_path, layers, dense=True)


def error_of(found: Any, layer: Layer, rows: Any, activation: Any) -> float:
    """The relative error of one layer, from the file's own factors and the definition."""
    quantised = found.quantized_later()().apply(rows, layer.bias, activation)
    exact = rows.astype(np.float64) @ layer.matrix.dense().T + layer.bias
    return float(np.sqrt(np.mean((quantised - exact) ** 2) / np.mean(exact**2)))


@pytest.mark.parametrize("activation", ["int8", "float"])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_every_error_is_that_of_the_rows_that_really_enter(
    portable: Path, layers: tuple[Layer, ...], precision: str, activation: str
) -> None:
    output = portable.parent / "quantised.onnx"
    result = bd.quantize(portable, output, precision=precision, activation=activation, max_error=0.5)
    assert [layer.name for layer in result.layers] == ["block.0", "block.1"]
    assert {layer.bits for layer in result.layers} == {8 if precision == "int8" else 4}
    samples = [sample.inputs["x"] for sample in reference.load(reference_path(portable)).samples]
    entering = np.concatenate([x.reshape(-1, 70) for x in samples])
    for told, found, layer in zip(result.layers, read_portable(output).layers, layers, strict=True):
        assert told.error == pytest.approx(error_of(found, layer, entering, activation), rel=1e-3)
        assert told.bytes == found.quantized_later()().bytes < 0.45 * told.float_bytes
        entering = np.tanh(layer.matrix.apply(entering, layer.bias)).astype(np.float32)
    assert result.judged_on == "the reference's samples"
    assert result.bytes == output.stat().st_size
    assert result.float_bytes == portable.stat().st_size


def test_the_file_runs_in_stock_runtime_and_the_reference_goes_along(
    portable: Path, layers: tuple[Layer, ...]
) -> None:
    output = portable.parent / "quantised.onnx"
    result = bd.quantize(portable, output)
    onnx.checker.check_model(output, full_check=True)
    x = inputs(layers, 2, 3)["x"]
    (y,) = onnxruntime.InferenceSession(output).run(None, {"x": x})
    exact = forward(layers, x)
    assert 1e-4 < np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact**2)) < 0.03
    assert result.reference is not None
    kept = reference.load(result.reference, reference.sha256(output)).samples
    before = reference.load(reference_path(portable)).samples
    assert len(kept) == len(before)
    for one, other in zip(kept, before, strict=True):
        np.testing.assert_array_equal(one.outputs["y"], other.outputs["y"])
        assert one.dense_outputs is not None


def test_a_layer_over_the_budget_stays_as_it_was(portable: Path, layers: tuple[Layer, ...]) -> None:
    output = portable.parent / "quantised.onnx"
    first, second = (layer.error or 0 for layer in bd.quantize(portable, output).layers)
    budget = (first + second) / 2
    result = bd.quantize(portable, output, max_error=budget, force=True)
    kept = 0 if first > budget else 1
    assert [layer.bits for layer in result.layers] == ([None, 8] if kept == 0 else [8, None])
    stayed = result.layers[kept]
    assert stayed.reason == f"error {stayed.error:.4f} is over the budget {budget:g}"
    assert stayed.bytes == stayed.float_bytes
    found = read_portable(output).layers[kept]
    np.testing.assert_array_equal(found.matrix().u, layers[kept].matrix.u)


def test_no_layer_within_the_budget_is_an_error_and_writes_nothing(portable: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"no layer of .* budget 1e-06 in int8 .*least error is"):
        bd.quantize(portable, portable.parent / "quantised.onnx", max_error=1e-6)
    assert sorted(path.name for path in portable.parent.iterdir()) == ["model.onnx", "model.reference.npz"]


def test_without_samples_random_rows_judge(portable: Path) -> None:
    reference_path(portable).unlink()
    result = bd.quantize(portable, portable.parent / "quantised.onnx")
    assert result.reference is None
    assert result.judged_on.startswith("random rows")
    assert not reference_path(result.path).exists()
    assert all(layer.error is not None and layer.error < 0.025 for layer in result.layers)


def test_own_samples_judge_where_there_is_no_reference(
    portable: Path, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    reference_path(portable).unlink()
    np.savez(tmp_path / "own.npz", **inputs(layers, 3, 4))
    result = bd.quantize(portable, tmp_path / "quantised.onnx", samples=tmp_path / "own.npz")
    assert result.judged_on == "the samples given"
    assert result.reference is not None
    (sample,) = reference.load(result.reference, reference.sha256(result.path)).samples
    np.testing.assert_allclose(sample.outputs["y"], forward(layers, sample.inputs["x"]), rtol=1e-9)


def test_own_samples_choose_better_integers(
    portable: Path, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    # All inputs lie near one plane of few dimensions; errors across it do not count.
    mixing = np.random.default_rng(5).standard_normal((4, 70))

    def alike(seed: int) -> dict[str, Any]:
        random = np.random.default_rng(seed)
        noise = 0.01 * random.standard_normal((40, 50, 70))
        return {"x": (random.standard_normal((40, 50, 4)) @ mixing / 2 + noise).astype(np.float32)}

    source = write_portable(tmp_path, layers, [alike(0)])
    np.savez(tmp_path / "own.npz", **alike(1))
    plain = bd.quantize(source, tmp_path / "plain.onnx", precision="int4", max_error=0.9)
    better = bd.quantize(
        source, tmp_path / "better.onnx", precision="int4", max_error=0.9, samples=tmp_path / "own.npz"
    )
    assert (better.layers[0].error or 1) < 0.8 * (plain.layers[0].error or 0)


def test_layers_of_other_types_stay(tmp_path: Path) -> None:
    source = write_portable(tmp_path, random_layers(SIZES, dtype=("float16", "float32")))
    result = bd.quantize(source, tmp_path / "quantised.onnx")
    assert [layer.bits for layer in result.layers] == [None, 8]
    assert result.layers[0].reason == "it is float16, and only float32 can be quantised"


def test_a_quantised_model_is_not_quantised_again(portable: Path) -> None:
    output = portable.parent / "quantised.onnx"
    bd.quantize(portable, output)
    with pytest.raises(InvalidInputError, match=r"can be quantised .block.0: it is quantised already.; use"):
        bd.quantize(output, portable.parent / "again.onnx")


def test_a_dense_model_is_refused(tmp_path: Path) -> None:
    onnx.save(dense_model(np.ones((3, 2))), tmp_path / "dense.onnx")
    with pytest.raises(InvalidInputError, match=r"has no structured layers.*compress it first"):
        bd.quantize(tmp_path / "dense.onnx", tmp_path / "quantised.onnx")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": "fp16"}, "precision must be int8 or int4"),
        ({"activation": "int4"}, "activation must be float or int8"),
        ({"max_error": 0.0}, "budget must lie between 0 and 1"),
        ({"max_error": float("nan")}, "budget must lie between 0 and 1"),
        ({"block_size": 48}, "block size must be 32 or 64"),
        ({"samples": "nowhere.npz"}, "nowhere.npz does not exist"),
        ({"output": "quantised"}, "must end in .onnx"),
    ],
)
def test_bad_arguments_are_refused_and_leave_nothing(
    portable: Path, changes: dict[str, Any], words: str
) -> None:
    arguments = {"model": portable, "output": portable.parent / "quantised.onnx"} | changes
    with pytest.raises(InvalidInputError, match=words):
        bd.quantize(**arguments)
    assert len(list(portable.parent.iterdir())) == 2


def test_an_existing_output_is_kept_without_force(portable: Path) -> None:
    output = portable.parent / "quantised.onnx"
    bd.quantize(portable, output)
    with pytest.raises(OutputExistsError, match="exists already"):
        bd.quantize(portable, output)
    bd.quantize(portable, output, force=True)


def test_the_model_itself_is_no_output(portable: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"is the model .* itself"):
        bd.quantize(portable, portable, force=True)


def test_external_weights_are_read_and_written(
    portable: Path, layers: tuple[Layer, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = onnx.load(portable)
    onnx.save(proto, portable, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    samples = reference.load(reference_path(portable)).samples
    reference.save(reference.Reference(reference.sha256(portable), samples), reference_path(portable))
    embedded = bd.quantize(portable, portable.parent / "embedded.onnx")
    monkeypatch.setattr(model_files, "EMBEDDED_LIMIT", 1000)
    external = bd.quantize(portable, portable.parent / "external.onnx")
    assert not (portable.parent / "embedded.onnx.data").exists()
    x = inputs(layers, 2, 3)["x"]
    found = [onnxruntime.InferenceSession(each.path).run(None, {"x": x})[0] for each in (embedded, external)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(("form", "activation"), [("body", "int8"), ("kernel", "float"), ("dense", "float")])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_it_compiles_and_verifies(portable: Path, precision: str, form: str, activation: str) -> None:
    output = portable.parent / "quantised.onnx"
    bd.quantize(portable, output, precision=precision, activation=activation, max_error=0.5)
    plan = bd.compile(output, forcing(form), portable.parent / "artifact").plan
    expected = "dequantised" if form == "kernel" else form
    assert [layer.form for layer in plan.layers] == [expected, expected]
    result = bd.verify(portable.parent / "artifact", layers=True)
    assert (result.verdict, result.reasons) == ("passed", ())
    assert len(result.layers) == 2
    inspected = bd.inspect(portable.parent / "artifact")
    assert inspected.layers[0].operator == "QBlastLinear"
    assert f"{precision[3:]} bits, " in inspected.layers[0].description
    assert inspected.parameters == bd.inspect(portable).parameters
    size = open_artifact(portable.parent / "artifact").manifest.size
    assert size.bytes == bd.inspect(output).bytes < bd.inspect(portable).bytes


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_compile_quantises_on_the_way(
    portable: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blast_deploy.quantization.MAX_ERROR", {"int8": 0.5, "int4": 0.5})
    folder = portable.parent / "artifact"
    result = bd.compile(portable, "cpu-stock", folder, precision=precision)
    assert [layer.bits for layer in result.quantization] == [int(precision[3:])] * 2
    manifest = open_artifact(folder).manifest
    assert manifest.precision == precision
    assert (manifest.source.name, manifest.source.sha256) == ("model.onnx", reference.sha256(portable))
    assert {record.operator for record in manifest.layers} == {"QBlastLinear"}
    assert manifest.operators.oldest_runtime == "1.19"
    checked = bd.verify(folder, layers=True)
    assert (checked.verdict, checked.reasons) == ("passed", ())
    assert checked.compression_loss is not None


def test_quantised_activations_run_as_nothing_else(portable: Path) -> None:
    output = portable.parent / "quantised.onnx"
    bd.quantize(portable, output)
    plan = bd.compile(output, forcing("dense"), portable.parent / "artifact").plan
    assert {each.form for layer in plan.layers for each in layer.accepted} == {"kernel", "body"}


def test_scales_that_the_kernel_cannot_keep_leave_the_body(portable: Path) -> None:
    output = portable.parent / "quantised.onnx"
    bd.quantize(portable, output, precision="int4", max_error=0.5)
    model = ir.load(output)
    scale = model.graph.initializers["block.0.U_scale"]
    assert scale.const_value is not None
    scale.const_value = ir.Tensor(scale.const_value.numpy() * np.float32(1.001), name=scale.name)
    ir.save(model, output)
    samples = reference.load(reference_path(output)).samples
    reference.save(reference.Reference(reference.sha256(output), samples), reference_path(output))
    plan = bd.compile(output, forcing("kernel"), portable.parent / "artifact").plan
    assert [layer.form for layer in plan.layers] == ["body", "kernel"]
    assert bd.verify(portable.parent / "artifact", layers=True).verdict == "passed"
