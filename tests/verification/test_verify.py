"""Honest artifacts pass; faults planted into one are caught, with a message that says what and where."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from portable_models import LayerSizes, forcing, inputs, random_layers, write_portable

import blast_deploy as bd
from blast_deploy import artifact as artifacts
from blast_deploy import reference
from blast_deploy.artifact import read_artifact
from blast_deploy.errors import InvalidInputError, UnsupportedMachineError
from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.passes.save import save_mapped
from blast_deploy.reference import Reference
from blast_deploy.results import VerificationResult
from blast_deploy.runner import Outputs, Runner, Taps

FORMS = ("kernel", "body", "dense")
SQUARE = (LayerSizes(96, 96, (4, 4), 24), LayerSizes(80, 96, (4, 4), 24))
"""The first layer's blocks are 24 x 24, so that a factor can be transposed; weights fill pages."""
FACTOR = {"kernel": "block.0.packed", "body": "block.0.U", "dense": "block.0.weight"}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One artifact for each form; never written to."""
    folder = tmp_path_factory.mktemp("honest")
    source = write_portable(folder, random_layers(SQUARE), dense=True)
    for form in FORMS:
        bd.compile(source, forcing(form), folder / form)
    return {form: folder / form for form in FORMS}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def copy(honest: dict[str, Path], form: str, tmp_path: Path) -> Path:
    """A copy of an honest artifact to plant a fault into."""
    shutil.copytree(honest[form], tmp_path / "artifact")
    return tmp_path / "artifact"


def rewrite(folder: Path, **changes: Any) -> None:
    """Change the manifest, and make its hashes and sizes those of the files as they are now."""
    manifest = read_artifact(folder).manifest
    roles = {file.path: file.role for file in manifest.files if (folder / file.path).exists()}
    changed = dataclasses.replace(manifest, files=artifacts.store(folder, roles), **changes)
    (folder / "manifest.json").write_bytes(artifacts.encode(changed))


def edit_model(folder: Path, edit: Callable[[ir.Model], None]) -> None:
    """Change the lowered model, and hide it by making the hashes right again."""
    model = ir.load(folder / "model.onnx")
    for value in model.graph.initializers.values():
        assert value.const_value is not None
        value.const_value = ir.Tensor(value.const_value.numpy().copy(), name=value.name)
    edit(model)
    save_mapped(model, folder / "model.onnx")
    rewrite(folder)


def edit_weight(folder: Path, name: str, edit: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    def change(model: ir.Model) -> None:
        value = model.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.Tensor(edit(value.const_value.numpy().copy()), name=name)

    edit_model(folder, change)


def reasons(result: VerificationResult, verdict: str = "failed") -> str:
    assert result.verdict == verdict
    assert result.reasons
    return "\n".join(result.reasons)


def test_an_honest_artifact_passes(honest: dict[str, Path], form: str) -> None:
    result = bd.verify(honest[form], layers=True)
    assert result.verdict == "passed", result.reasons
    assert result.reasons == ()
    assert [each.subject for each in result.outputs] == ["y"]
    assert [each.subject for each in result.layers] == ["block.0", "block.1"]
    for each in (*result.outputs, *result.layers):
        assert 0 < each.rms_error <= each.rms_bound
        assert 0 < each.max_error <= each.max_bound
    expected = {"kernel": "BlastLinearPacked", "body": "function body", "dense": "MatMul"}[form]
    assert result.kernels == {"block.0": expected, "block.1": expected}


def test_compression_loss_is_its_own_figure(honest: dict[str, Path]) -> None:
    # The dense original gave 1.25 times as much: an error of a fifth of it, and no deployment error.
    result = bd.verify(honest["body"])
    assert result.compression_loss == {"y": pytest.approx(0.2)}
    assert result.verdict == "passed"
    assert result.outputs[0].rms_error < 1e-5
    assert result.layers == ()


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_honest_models_of_any_shape_pass(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    sizes, width = [], data.draw(st.integers(1, 70), "in_features")
    for _ in range(data.draw(st.integers(1, 3), "layers")):
        out = data.draw(st.integers(1, 70), "out_features")
        blocks = data.draw(st.integers(1, min(out, 6)), "b1"), data.draw(st.integers(1, min(width, 6)), "b2")
        sizes.append(LayerSizes(out, width, blocks, data.draw(st.integers(1, 40), "rank")))
        width = out
    layers = random_layers(sizes, seed=data.draw(st.integers(0, 99), "seed"))
    rows = [(data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9))) for _ in range(2)]
    samples = [inputs(layers, batch, sequence, seed) for seed, (batch, sequence) in enumerate(rows)]
    folder = tmp_path_factory.mktemp("any")
    source = write_portable(folder, layers, samples)
    bd.compile(source, forcing(data.draw(st.sampled_from(FORMS), "form")), folder / "artifact")
    result = bd.verify(folder / "artifact", layers=True)
    assert result.verdict == "passed", result.reasons


def test_a_flipped_byte_is_found_by_its_hash(copy: Path) -> None:
    weights = copy / "model.onnx.data"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    assert "model.onnx.data was changed after compilation" in reasons(bd.verify(copy))


@pytest.mark.parametrize("name", ["reference/samples.npz", "reference/factors.safetensors", "model.onnx"])
def test_a_flipped_byte_is_found_in_any_file(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[-40] ^= 4
    (copy / name).write_bytes(content)
    assert f"{name} was changed after compilation" in reasons(bd.verify(copy))


def test_a_flipped_exponent_bit_is_found_by_the_numbers(copy: Path, form: str) -> None:
    def flip(weight: NDArray[Any]) -> NDArray[Any]:
        bits = weight.reshape(-1).view(np.uint32)
        bits[np.flatnonzero(weight)[7]] ^= 1 << 24
        return weight

    edit_weight(copy, FACTOR[form], flip)
    found = bd.verify(copy, layers=True)
    text = reasons(found)
    assert "output y: error rms" in text
    assert "layer block.0: error rms" in text
    assert "exceeds the bound rms" in text
    assert "block.1" not in text
    layer = found.layers[0]
    assert (layer.subject, layer.verdict) == ("block.0", "failed")
    assert layer.rms_error > layer.rms_bound
    assert f"{layer.rms_error:.2e}" in layer.reason
    assert f"{layer.rms_bound:.2e}" in layer.reason


def test_a_wrong_packed_panel_is_found(honest: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(honest["kernel"], tmp_path / "artifact")

    def swap(packed: NDArray[Any]) -> NDArray[Any]:
        panel = packed[:32].copy()
        packed[:32], packed[32:64] = packed[32:64], panel
        return packed

    edit_weight(copy, "block.1.packed", swap)
    text = reasons(bd.verify(copy, layers=True))
    assert "layer block.1: error" in text
    assert "block.0" not in text


def test_a_dropped_bias_is_found(copy: Path) -> None:
    edit_weight(copy, "block.0.bias", np.zeros_like)
    assert "layer block.0: error" in reasons(bd.verify(copy, layers=True))


def test_a_transposed_factor_is_found(copy: Path, form: str) -> None:
    def transpose(weight: NDArray[Any]) -> NDArray[Any]:
        if form == "kernel":
            # The packed layout of the first V block: 24 rows of a panel that is 32 or 24 wide.
            width = 24 if not weight[24 * 24 : 24 * 32].any() else 32
            first = weight[: 24 * width].reshape(24, width)[:, :24]
            weight[: 24 * width].reshape(24, width)[:, :24] = first.T.copy()
            return weight
        return np.ascontiguousarray(np.swapaxes(weight, -1, -2))

    edit_weight(copy, FACTOR[form], transpose)
    assert "layer block.0: error" in reasons(bd.verify(copy, layers=True))


def test_nan_is_found(copy: Path, form: str) -> None:
    def spoil(weight: NDArray[Any]) -> NDArray[Any]:
        weight.reshape(-1)[np.flatnonzero(weight)[3]] = np.nan
        return weight

    edit_weight(copy, FACTOR[form], spoil)
    text = reasons(bd.verify(copy, layers=True))
    assert "output y:" in text
    assert "NaN" in text
    assert "layer block.0:" in text


def test_a_missing_output_is_found(copy: Path) -> None:
    def remove(model: ir.Model) -> None:
        spare = ir.node("Identity", [model.graph.outputs[0]], name="spare")
        spare.outputs[0].name = "spare"
        model.graph.append(spare)
        model.graph.outputs[:] = spare.outputs

    edit_model(copy, remove)
    text = reasons(bd.verify(copy))
    assert "output y is missing from what the runner gave" in text
    assert "output spare is not one that the artifact declares" in text


def test_truncated_weights_are_found(copy: Path) -> None:
    weights = copy / "model.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-512])
    assert "model.onnx.data has" in reasons(bd.verify(copy))
    with pytest.raises(InvalidInputError, match=r"damaged: model\.onnx\.data has \d+ bytes, the"):
        bd.open(copy)
    rewrite(copy)
    assert "is cut short" in reasons(bd.verify(copy))


def test_a_missing_file_is_found(copy: Path) -> None:
    (copy / "reference/factors.safetensors").unlink()
    assert "factors.safetensors is missing" in reasons(bd.verify(copy))


@pytest.mark.parametrize(
    ("promised", "real", "ran"),
    [
        ("kernel", "body", "function body"),
        ("kernel", "dense", "MatMul"),
        ("body", "kernel", "BlastLinearPacked"),
        ("body", "dense", "MatMul"),
        ("dense", "body", "function body"),
        ("dense", "kernel", "BlastLinearPacked"),
    ],
)
def test_another_form_than_the_promised_is_a_failure(
    honest: dict[str, Path], tmp_path: Path, promised: str, real: str, ran: str
) -> None:
    copy = shutil.copytree(honest[promised], tmp_path / "artifact")
    for name in ("model.onnx", "model.onnx.data"):
        shutil.copyfile(honest[real] / name, copy / name)
    rewrite(copy)
    text = reasons(bd.verify(copy))
    for layer in ("block.0", "block.1"):
        assert f"layer {layer} was to run as {promised}, but the runtime ran {ran}" in text
    assert "error" not in text


@pytest.mark.parametrize(("target", "ran"), [("cpu-stock", "function body"), ("cpu-native", "BlastLinear")])
def test_an_artifact_that_was_never_lowered_is_a_failure(tmp_path: Path, target: str, ran: str) -> None:
    """With the portable file in it, the runtime falls back without a word to what it can find."""
    source = write_portable(tmp_path, random_layers(SQUARE))
    bd.compile(source, forcing("dense", target), tmp_path / "artifact")
    model = ir.load(source)
    NameLayers()(model)
    save_mapped(model, tmp_path / "artifact/model.onnx")
    rewrite(tmp_path / "artifact")
    text = reasons(bd.verify(tmp_path / "artifact", layers=True))
    assert f"layer block.0 was to run as dense, but the runtime ran {ran}" in text
    assert "error" not in text


def test_samples_that_cannot_judge_are_a_failure(tmp_path: Path) -> None:
    layers = random_layers(SQUARE)
    row = inputs(layers, 1, 1)["x"]
    samples = [{"x": np.repeat(row, 6, axis=1)}, {"x": np.repeat(row, 2, axis=0)}]
    source = write_portable(tmp_path, layers, samples)
    bd.compile(source, forcing("body"), tmp_path / "artifact")
    text = reasons(bd.verify(tmp_path / "artifact"))
    assert "layer block.0: all 8 rows that enter it are equal" in text
    assert "layer block.1: all 8 rows" in text


def test_two_samples_that_differ_can_judge(tmp_path: Path) -> None:
    layers = random_layers(SQUARE)
    source = write_portable(tmp_path, layers, [inputs(layers, 1, 1), inputs(layers, 1, 1, seed=2)])
    bd.compile(source, forcing("body"), tmp_path / "artifact")
    assert bd.verify(tmp_path / "artifact", layers=True).verdict == "passed"


def test_without_samples_nothing_is_judged(copy: Path) -> None:
    manifest = read_artifact(copy).manifest
    reference.save(Reference(manifest.source.sha256, ()), copy / "reference/samples.npz")
    rewrite(copy)
    assert "holds no reference samples" in reasons(bd.verify(copy), "unjudged")


def test_lost_samples_are_a_failure(copy: Path) -> None:
    samples = reference.load(copy / "reference/samples.npz")
    reference.save(Reference(samples.model_sha256, samples.samples[:1]), copy / "reference/samples.npz")
    rewrite(copy)
    assert "holds 1 samples, the manifest says 2" in reasons(bd.verify(copy))


def test_samples_of_another_model_are_a_failure(copy: Path) -> None:
    samples = reference.load(copy / "reference/samples.npz")
    reference.save(Reference("0" * 64, samples.samples), copy / "reference/samples.npz")
    rewrite(copy)
    assert "belongs to another model file" in reasons(bd.verify(copy))


def test_wrong_expected_outputs_are_a_failure(copy: Path) -> None:
    samples = reference.load(copy / "reference/samples.npz")
    shifted = tuple(
        dataclasses.replace(sample, outputs={"y": sample.outputs["y"] + 1e-3}) for sample in samples.samples
    )
    reference.save(Reference(samples.model_sha256, shifted), copy / "reference/samples.npz")
    rewrite(copy)
    assert "output y: error" in reasons(bd.verify(copy))


def test_a_layer_without_plan_is_a_failure(copy: Path) -> None:
    plan = read_artifact(copy).manifest.plan
    rewrite(copy, plan=dataclasses.replace(plan, layers=plan.layers[:1]))
    assert "layer block.1 has no form in the plan" in reasons(bd.verify(copy))


def test_a_layer_that_the_manifest_forgot_is_a_failure(copy: Path) -> None:
    manifest = read_artifact(copy).manifest
    plan = dataclasses.replace(manifest.plan, layers=manifest.plan.layers[:1])
    rewrite(copy, plan=plan, layers=manifest.layers[:1])
    assert "layer block.1 ran, but the manifest does not name it" in reasons(bd.verify(copy))


def test_a_layer_that_is_not_in_the_model_is_a_failure(copy: Path) -> None:
    manifest = read_artifact(copy).manifest
    record = dataclasses.replace(manifest.layers[0], name="block.7")
    planned = dataclasses.replace(manifest.plan.layers[0], layer="block.7")
    plan = dataclasses.replace(manifest.plan, layers=(*manifest.plan.layers, planned))
    rewrite(copy, layers=(*manifest.layers, record), plan=plan)
    text = reasons(bd.verify(copy, layers=True))
    assert "layer block.7 was to run as" in text
    assert "nothing known" in text
    assert "layer block.7 is missing from what the runtime reports" in text


class Meddling(Runner):
    """Passes everything on, but lets a test change what is captured."""

    def __init__(self, inner: Runner, meddle: Callable[[Outputs, Taps], tuple[Outputs, Taps]]) -> None:
        self.inputs, self.outputs = inner.inputs, inner.outputs
        self._inner, self._meddle = inner, meddle

    def executed_operators(self) -> dict[str, str]:
        return self._inner.executed_operators()

    def close(self) -> None:
        self._inner.close()

    def _run(self, inputs: Any) -> Outputs:
        return self._inner.run(inputs)

    def _run_tapped(self, inputs: Any) -> tuple[Outputs, Taps]:
        return self._meddle(*self._inner.run_tapped(inputs))


def verify_meddled(
    monkeypatch: pytest.MonkeyPatch, folder: Path, meddle: Callable[[Outputs, Taps], tuple[Outputs, Taps]]
) -> str:
    opened = bd.open
    monkeypatch.setattr("blast_deploy.runner.open", lambda *a, **k: Meddling(opened(*a, **k), meddle))
    return reasons(bd.verify(folder, layers=True))


def test_a_layer_that_is_not_captured_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path]
) -> None:
    def drop(outputs: Outputs, taps: Taps) -> tuple[Outputs, Taps]:
        return outputs, {name: tap for name, tap in taps.items() if name != "block.1"}

    text = verify_meddled(monkeypatch, honest["body"], drop)
    assert text == "layer block.1 is missing from what the runtime reports"


def test_a_captured_tensor_of_wrong_shape_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path]
) -> None:
    def crop(outputs: Outputs, taps: Taps) -> tuple[Outputs, Taps]:
        x, y = taps["block.0"]
        return outputs, taps | {"block.0": (x, y[..., :-1])}

    assert "what left it has shape" in verify_meddled(monkeypatch, honest["body"], crop)


def test_capture_that_changes_the_outputs_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path]
) -> None:
    def shift(outputs: Outputs, taps: Taps) -> tuple[Outputs, Taps]:
        return {"y": outputs["y"] + np.float32(1e-3)}, taps

    text = verify_meddled(monkeypatch, honest["body"], shift)
    assert text.startswith("output y with capture on: error")
    assert "against the run without it" in text


def test_a_machine_that_cannot_run_it_judges_nothing(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path]
) -> None:
    monkeypatch.setattr("blast_deploy.native.Library.instruction_sets", lambda self: ("z80",))
    text = reasons(bd.verify(honest["kernel"]), "unjudged")
    assert "this machine lacks" in text
    assert "it has z80" in text
    with pytest.raises(UnsupportedMachineError, match="cannot run here"):
        bd.open(honest["kernel"])


def test_threads_must_be_positive(honest: dict[str, Path]) -> None:
    with pytest.raises(InvalidInputError, match="threads must be at least 1"):
        bd.verify(honest["body"], threads=0)


def test_a_runtime_that_is_too_old_judges_nothing(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path], form: str
) -> None:
    monkeypatch.setattr("onnxruntime.__version__", "1.17.3")
    text = reasons(bd.verify(honest[form]), "unjudged")
    assert text == f"{honest[form]} needs onnxruntime 1.18 or newer (found 1.17.3); upgrade it"


def test_what_is_no_artifact_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"holds no manifest\.json"):
        bd.verify(tmp_path)
    with pytest.raises(InvalidInputError, match="is no artifact folder"):
        bd.verify(tmp_path / "nowhere")


def test_progress_is_told(honest: dict[str, Path]) -> None:
    told: list[tuple[int, int, str]] = []
    bd.verify(honest["body"], layers=True, progress=lambda *step: told.append(step))
    assert [done for done, _, _ in told] == list(range(told[0][1]))
    assert told[-1][2] == "block.1"
