from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import external_data_helper
from portable_models import (
    LayerSizes,
    chain,
    dense_model,
    forcing,
    forward,
    inputs,
    random_layers,
    write_portable,
)
from safetensors.numpy import load_file

import blast_deploy as bd
from blast_deploy import reference
from blast_deploy.artifact import open_artifact
from blast_deploy.errors import InvalidInputError, OutputExistsError, UnsupportedMachineError
from blast_deploy.model_paths import reference_path
from blast_deploy.reference import Reference, Sample

FORMS = ("kernel", "body", "dense")


@pytest.mark.parametrize("form", FORMS)
def test_the_manifest_describes_the_artifact(tmp_path: Path, form: str) -> None:
    layers = random_layers()
    source = write_portable(tmp_path, layers)
    result = bd.compile(source, forcing(form), tmp_path / "artifact", shape="batch=1:2,sequence=5")
    manifest = open_artifact(tmp_path / "artifact").manifest
    assert [layer.form for layer in result.plan.layers] == [form, form]
    assert manifest.plan == result.plan
    assert manifest.axes == {"batch": (1, 2), "sequence": (5, 5)}
    assert manifest.plan.rows == (5, 10)
    assert manifest.source.sha256 == reference.sha256(source)
    assert [spec.name for spec in manifest.inputs] == ["x"]
    assert manifest.inputs[0].shape == ("batch", "sequence", 19)
    assert manifest.outputs[0].shape == ("batch", "sequence", 23)
    biases = 37 + 23
    structured = sum(layer.matrix.cost.parameters for layer in layers)
    dense = 37 * 19 + 23 * 37
    assert manifest.size.parameters == structured + biases
    assert manifest.dense_size.parameters == dense + biases
    assert manifest.dense_size.bytes == 4 * (dense + biases)
    assert manifest.size.flops_per_row == 2 * structured
    assert manifest.dense_size.flops_per_row == 2 * dense
    assert manifest.samples == 2
    on_disk = {str(path.relative_to(tmp_path / "artifact")) for path in (tmp_path / "artifact").rglob("*.*")}
    assert {file.path for file in manifest.files} | {"manifest.json"} == on_disk
    deployed = sum(file.bytes for file in manifest.files if file.role != "reference")
    assert result.bytes == manifest.deployed_bytes == deployed
    for file in manifest.files:
        assert reference.sha256(tmp_path / "artifact" / file.path) == file.sha256
    assert set(manifest.operators.versions) == ({"BlastLinearPacked"} if form == "kernel" else set())


def test_the_original_factors_are_kept(tmp_path: Path) -> None:
    layers = random_layers()
    bd.compile(write_portable(tmp_path, layers), forcing("dense"), tmp_path / "artifact")
    kept = load_file(open_artifact(tmp_path / "artifact").factors)
    assert set(kept) == {f"{layer.name}.{name}" for layer in layers for name in ("U", "S", "V", "bias")}
    for layer in layers:
        np.testing.assert_array_equal(kept[f"{layer.name}.U"], layer.matrix.u)
        np.testing.assert_array_equal(kept[f"{layer.name}.S"], layer.matrix.s)
        np.testing.assert_array_equal(kept[f"{layer.name}.V"], layer.matrix.v)
        np.testing.assert_array_equal(kept[f"{layer.name}.bias"], layer.bias)


def test_the_tolerance_follows_from_the_bodys_own_error(tmp_path: Path) -> None:
    layers = random_layers()
    source = write_portable(tmp_path, layers)
    bd.compile(source, forcing("dense"), tmp_path / "artifact")
    bound = open_artifact(tmp_path / "artifact").manifest.tolerance["y"]
    assert 0 < bound.body.rms < 1e-6
    assert bound.rms == max(4 * bound.body.rms, 8 * 2.0**-23)
    assert bound.max == max(4 * bound.body.max, 8 * 2.0**-23)


def test_the_same_model_gives_the_same_artifact(tmp_path: Path) -> None:
    source = write_portable(tmp_path, random_layers())
    for name in ("first", "second"):
        bd.compile(source, forcing("body"), tmp_path / name)
    first, second = ((tmp_path / name / "manifest.json").read_bytes() for name in ("first", "second"))
    assert first == second


def test_a_dense_model_compiles_with_an_empty_plan(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((6, 4))
    onnx.save(dense_model(weight), tmp_path / "dense.onnx")
    x = np.random.default_rng(1).standard_normal((2, 3, 6)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", x=x)
    result = bd.compile(
        tmp_path / "dense.onnx", "cpu-stock", tmp_path / "artifact", samples=tmp_path / "samples.npz"
    )
    assert result.plan.layers == ()
    manifest = open_artifact(tmp_path / "artifact").manifest
    assert manifest.size == manifest.dense_size
    assert manifest.size.flops_per_row == 2 * 6 * 4
    with bd.open(tmp_path / "artifact") as running:
        np.testing.assert_allclose(running.run({"x": x})["y"], x @ weight, rtol=1e-5, atol=1e-5)
    assert bd.verify(tmp_path / "artifact", layers=True).verdict == "passed"


def test_own_samples_get_float64_outputs_from_the_model_itself(tmp_path: Path) -> None:
    layers = random_layers()
    onnx.save(chain(layers), tmp_path / "model.onnx")
    first, second = inputs(layers, 2, 4), inputs(layers, 1, 1, seed=5)
    np.savez(tmp_path / "samples.npz", **{"0/x": first["x"], "1/x": second["x"]})
    bd.compile(
        tmp_path / "model.onnx", forcing("body"), tmp_path / "artifact", samples=tmp_path / "samples.npz"
    )
    samples = reference.load(open_artifact(tmp_path / "artifact").samples).samples
    for sample, own in zip(samples, (first, second), strict=True):
        np.testing.assert_array_equal(sample.inputs["x"], own["x"])
        np.testing.assert_allclose(sample.outputs["y"], forward(layers, own["x"]), rtol=1e-12, atol=1e-12)


def test_own_samples_join_those_of_the_export(tmp_path: Path) -> None:
    layers = random_layers()
    source = write_portable(tmp_path, layers)
    np.savez(tmp_path / "samples.npz", **inputs(layers, 3, 2))
    bd.compile(source, forcing("body"), tmp_path / "artifact", samples=tmp_path / "samples.npz")
    assert open_artifact(tmp_path / "artifact").manifest.samples == 3


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_progress_is_told_step_by_step(tmp_path: Path, precision: str) -> None:
    told: list[tuple[int, int, str]] = []
    source = write_portable(tmp_path, random_layers((LayerSizes(37, 70, (3, 2), 24),)))
    bd.compile(
        source,
        "cpu-stock",
        tmp_path / "artifact",
        precision=precision,
        progress=lambda *step: told.append(step),
    )
    assert ("quantise the layers" in [step for _, _, step in told]) == (precision == "int8")
    assert [done for done, _, _ in told] == list(range(len(told)))
    assert {total for _, total, _ in told} == {len(told)}


def compile_faulty(tmp_path: Path, **changes: Any) -> None:
    source = write_portable(tmp_path, random_layers())
    arguments = {"model": source, "target": "cpu-stock", "output": tmp_path / "artifact"} | changes
    bd.compile(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "int3"}, "precision must be one of fp32, int8, int4.*'int3'"),
        ({"target": "toaster"}, "no target 'toaster'"),
        ({"shape": "heads=3"}, "no dynamic axis 'heads'.*batch, sequence"),
        ({"shape": "batch"}, "cannot be read"),
        ({"model": "nowhere.onnx"}, "nowhere.onnx does not exist"),
        ({"samples": "nowhere.npz"}, "nowhere.npz does not exist"),
    ],
)
def test_bad_arguments_are_refused_and_leave_nothing(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        compile_faulty(tmp_path, **changes)
    assert {path.name for path in tmp_path.iterdir()} <= {"model.onnx", "model.reference.npz"}


def test_an_existing_output_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    with pytest.raises(OutputExistsError, match="artifact exists"):
        compile_faulty(tmp_path, model="not even looked at")


@pytest.mark.parametrize("content", ['{"name": "a web page"}', '{"tool": "other 1.0", "files": []}', "{"])
def test_force_replaces_no_folder_that_only_looks_like_an_artifact(tmp_path: Path, content: str) -> None:
    source = write_portable(tmp_path, random_layers())
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "manifest.json").write_text(content)
    with pytest.raises(OutputExistsError, match="was not made here and is not replaced even with force"):
        bd.compile(source, forcing("dense"), tmp_path / "page", force=True)
    assert (tmp_path / "page" / "manifest.json").read_text() == content


def test_force_replaces_no_artifact_that_holds_more(tmp_path: Path) -> None:
    source = write_portable(tmp_path, random_layers())
    bd.compile(source, forcing("dense"), tmp_path / "artifact")
    (tmp_path / "artifact" / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"holds notes\.txt"):
        bd.compile(source, forcing("body"), tmp_path / "artifact", force=True)
    assert (tmp_path / "artifact" / "notes.txt").read_text() == "mine"


def test_force_replaces_an_artifact(tmp_path: Path) -> None:
    source = write_portable(tmp_path, random_layers())
    bd.compile(source, forcing("dense"), tmp_path / "artifact")
    bd.compile(source, forcing("body"), tmp_path / "artifact", force=True)
    assert {layer.form for layer in open_artifact(tmp_path / "artifact").manifest.plan.layers} == {"body"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "artifact",
        "model.onnx",
        "model.reference.npz",
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_compile_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if done == total - 1:
            raise error

    with pytest.raises(error):
        compile_faulty(tmp_path, progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.reference.npz"]


def test_a_reference_of_another_model_is_refused(tmp_path: Path) -> None:
    source = write_portable(tmp_path, random_layers())
    onnx.save(chain(random_layers(seed=9)), source)
    with pytest.raises(InvalidInputError, match="belongs to another model file"):
        bd.compile(source, "cpu-stock", tmp_path / "artifact")


def test_nothing_to_judge_by_is_refused(tmp_path: Path) -> None:
    onnx.save(chain(random_layers()), tmp_path / "model.onnx")
    with pytest.raises(InvalidInputError, match=r"nothing to judge.*model\.reference\.npz is not beside it"):
        bd.compile(tmp_path / "model.onnx", "cpu-stock", tmp_path / "artifact")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_reference_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    layers = random_layers()
    source = write_portable(tmp_path, layers)
    sample = Sample(inputs(layers, 1, 2), {"y": np.full((1, 2, 23), value)})
    reference.save(Reference(reference.sha256(source), (sample,)), reference_path(source))
    with pytest.raises(InvalidInputError, match="not finite in float64"):
        bd.compile(source, "cpu-stock", tmp_path / "artifact")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((1, 2, 18), np.float32)}, r"'x' must have shape \(batch, sequence, 19\)"),
        ({"x": np.zeros((1, 2, 19))}, "'x' must have dtype float32"),
        ({"z": np.zeros((1, 2, 19), np.float32)}, "'x' is missing"),
        ({"0/x": np.zeros((1, 2, 19), np.float32), "x": np.zeros(1)}, "must name its arrays by input"),
        ({}, "must name its arrays by input"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "samples.npz", **arrays)
    with pytest.raises(InvalidInputError, match=message):
        compile_faulty(tmp_path, samples=tmp_path / "samples.npz")


def test_a_pickle_is_no_samples_file(tmp_path: Path) -> None:
    np.save(tmp_path / "samples.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInputError, match=r"no readable \.npz"):
        compile_faulty(tmp_path, samples=tmp_path / "samples.npy")


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    source = write_portable(tmp_path, random_layers())
    source.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(InvalidInputError, match=r"model\.onnx"):
        bd.compile(source, "cpu-stock", tmp_path / "artifact")


def test_weights_outside_the_models_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(4 * 37 * 5))
    model = chain(random_layers())
    tensor = model.graph.initializer[0]
    external_data_helper.set_external_data(tensor, "../secret.bin", offset=0, length=len(tensor.raw_data))
    tensor.ClearField("raw_data")
    (tmp_path / "inner" / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidInputError, match="outside its own folder"):
        bd.compile(tmp_path / "inner" / "model.onnx", "cpu-stock", tmp_path / "artifact")


def test_a_machine_that_cannot_compile_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_portable(tmp_path, random_layers())
    (tmp_path / "broken.so").write_bytes(b"no library")
    monkeypatch.setenv("BLAST_DEPLOY_LIBRARY", str(tmp_path / "broken.so"))
    with pytest.raises(UnsupportedMachineError, match=r"cpu-native cannot be compiled for here.*broken\.so"):
        bd.compile(source, "cpu-native", tmp_path / "artifact")
    bd.compile(source, "cpu-stock", tmp_path / "artifact")


@pytest.mark.parametrize("form", ["kernel", "body", "dense"])
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_element_types_run_in_every_form(tmp_path: Path, dtype: str, form: str) -> None:
    source = write_portable(tmp_path, random_layers(dtype=dtype))
    result = bd.compile(source, forcing(form), tmp_path / "artifact")
    assert {layer.form for layer in result.plan.layers} == {form}
    verdict = bd.verify(tmp_path / "artifact", layers=True)
    assert verdict.verdict == "passed", verdict.reasons


def test_a_model_of_mixed_element_types(tmp_path: Path) -> None:
    dtypes = ("bfloat16", "float64", "float32", "float16", "bfloat16")
    sizes = [LayerSizes(37, 19, (3, 2), 5), *[LayerSizes(37, 37, (2, 5), 7)] * 4]
    source = write_portable(tmp_path, random_layers(sizes, dtype=dtypes))
    result = bd.compile(source, forcing("kernel"), tmp_path / "artifact")
    assert {layer.form for layer in result.plan.layers} == {"kernel"}
    verdict = bd.verify(tmp_path / "artifact", layers=True)
    assert verdict.verdict == "passed", verdict.reasons
    assert [each.dtype for each in bd.inspect(tmp_path / "artifact").layers] == list(dtypes)


def test_bfloat16_is_refused_where_nothing_computes_it(tmp_path: Path) -> None:
    source = write_portable(tmp_path, random_layers(dtype="bfloat16"))
    with pytest.raises(InvalidInputError, match=r"block\.0 cannot run on target cpu-stock.*another target"):
        bd.compile(source, "cpu-stock", tmp_path / "artifact")


def test_inputs_of_bfloat16_are_refused_with_the_remedy(tmp_path: Path) -> None:
    source = write_portable(tmp_path, random_layers(dtype="bfloat16"))
    model = onnx.load(source)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.BFLOAT16
    onnx.save(model, source)
    with pytest.raises(InvalidInputError, match=r"x is an input or output of bfloat16.*cast it inside"):
        bd.compile(source, "cpu-native", tmp_path / "artifact")


def test_json_of_the_result_is_plain(tmp_path: Path) -> None:
    from blast_deploy.results import to_json

    sizes = (LayerSizes(5, 5, (1, 1), 1),)
    source = write_portable(tmp_path, random_layers(sizes))
    written = json.loads(to_json(bd.compile(source, "cpu-stock", tmp_path / "artifact")))
    assert written["target"] == "cpu-stock"
    assert written["plan"]["layers"][0]["layer"] == "block.0"


@pytest.mark.parametrize("quantised", [False, True])
def test_a_model_that_gives_nan_is_refused(tmp_path: Path, quantised: bool) -> None:
    source = write_portable(tmp_path, random_layers())
    if quantised:
        bd.quantize(source, tmp_path / "quantised.onnx", max_error=0.5)
        source = tmp_path / "quantised.onnx"
    model, samples = onnx.load(source), reference.load(reference_path(source)).samples
    bias = next(each for each in model.graph.initializer if each.name == "block.1.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(23, np.nan, np.float32), bias.name))
    onnx.save(model, source)
    reference.save(Reference(reference.sha256(source), samples), reference_path(source))
    with pytest.raises(InvalidInputError, match="output y holds NaN or infinity in plain ONNX Runtime"):
        bd.compile(source, "cpu-stock", tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()
