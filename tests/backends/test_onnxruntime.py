from __future__ import annotations

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
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

import blast_deploy as bd
from blast_deploy import artifact as artifacts
from blast_deploy.artifact import open_artifact
from blast_deploy.backends.onnxruntime import session_runner
from blast_deploy.backends.onnxruntime.nodes import (
    LayerNodes,
    RanNode,
    operators_of,
)
from blast_deploy.backends.onnxruntime.session import make_session
from blast_deploy.errors import InvalidInputError, UnsupportedMachineError
from blast_deploy.runner import FUNCTION_BODY

FORMS = ("kernel", "body", "dense")


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def compiled(folder: Path, form: str) -> Path:
    bd.compile(write_portable(folder, random_layers()), forcing(form), folder / "artifact")
    return folder / "artifact"


def test_outputs_are_those_of_the_float64_chain(tmp_path: Path, form: str) -> None:
    layers = random_layers()
    with bd.open(compiled(tmp_path, form), threads=1) as running:
        for batch, sequence in ((1, 1), (3, 7), (2, 64)):
            sample = inputs(layers, batch, sequence, seed=batch)
            outputs = running.run(sample)
            assert list(outputs) == ["y"]
            assert outputs["y"].dtype == np.float32
            np.testing.assert_allclose(outputs["y"], forward(layers, sample["x"]), rtol=1e-4, atol=1e-5)


def test_zero_rows_give_zero_rows(tmp_path: Path, form: str) -> None:
    layers = random_layers()
    with bd.open(compiled(tmp_path, form)) as running:
        assert running.run(inputs(layers, 0, 5))["y"].shape == (0, 5, 23)


def test_taps_are_what_enters_and_leaves_each_layer(tmp_path: Path, form: str) -> None:
    layers = random_layers()
    sample = inputs(layers, 2, 3)
    with bd.open(compiled(tmp_path, form)) as running:
        outputs, taps = running.run_tapped(sample)
    assert list(outputs) == ["y"]
    assert list(taps) == ["block.0", "block.1"]
    np.testing.assert_array_equal(taps["block.0"][0], sample["x"])
    np.testing.assert_array_equal(taps["block.1"][1], outputs["y"])
    between = layers[0].matrix.apply(sample["x"], layers[0].bias)
    np.testing.assert_allclose(taps["block.0"][1], between, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(taps["block.1"][0], np.tanh(between), rtol=1e-4, atol=1e-5)


def test_capture_leaves_nothing_behind(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = compiled(tmp_path, form)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with bd.open(folder) as running:
        for seed in range(2):
            running.run_tapped(inputs(random_layers(), 2, 3, seed))
            assert not list(scratch.iterdir())
        running.executed_operators()
    assert not list(scratch.iterdir())
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_executed_operators_are_those_of_the_form(tmp_path: Path, form: str) -> None:
    expected = {"kernel": "BlastLinearPacked", "body": FUNCTION_BODY, "dense": "MatMul"}[form]
    with bd.open(compiled(tmp_path, form)) as running:
        assert running.executed_operators() == {"block.0": expected, "block.1": expected}


def test_a_fused_dense_layer_is_still_found(tmp_path: Path) -> None:
    """With a two-dimensional input ONNX Runtime turns MatMul and Add into one Gemm."""
    layers = random_layers((LayerSizes(8, 6, (2, 2), 2),))
    source = write_portable(tmp_path, layers)
    model = onnx.load(source)
    shapes = (model.graph.input[0].type.tensor_type.shape, model.graph.output[0].type.tensor_type.shape)
    for shape in shapes:
        del shape.dim[0]
    onnx.save(model, tmp_path / "flat.onnx")
    np.savez(tmp_path / "samples.npz", x=inputs(layers, 1, 5)["x"][0])
    bd.compile(
        tmp_path / "flat.onnx", forcing("dense"), tmp_path / "artifact", samples=tmp_path / "samples.npz"
    )
    with bd.open(tmp_path / "artifact") as running:
        assert running.executed_operators() == {"block.0": "Gemm"}
    assert bd.verify(tmp_path / "artifact", layers=True).verdict == "passed"


def test_what_ran_is_told_by_node_names() -> None:
    layers = {
        "a": LayerNodes(main=True, names=("a",), calls_function=False),
        "a.1": LayerNodes(main=True, names=("a.1",), calls_function=True),
        "b": LayerNodes(main=False, names=("b/MatMul", "b/Add"), calls_function=False),
        "c": LayerNodes(main=True, names=("c", "c/bias"), calls_function=False),
        "d": LayerNodes(main=True, names=("d",), calls_function=False),
        "e": LayerNodes(main=True, names=("e", "e/bias"), calls_function=False),
    }
    ran = {
        "a": RanNode("BlastLinearPacked"),
        "b/Add": RanNode("Add"),
        "c/MatMulAddFusion": RanNode("Gemm"),
        "d.1": RanNode("MatMul"),
        "fused e/MatMulAddFusion": RanNode("FusedGemm"),
    }
    told = {"a": "BlastLinearPacked", "b": FUNCTION_BODY, "c": "Gemm", "e": "FusedGemm"}
    assert operators_of(layers, ran) == told
    assert operators_of(layers, {"_inlfunc_BlastLinear_n0": RanNode("MatMul")}) == {"a.1": FUNCTION_BODY}


def test_a_provider_that_is_not_the_cpu_is_told() -> None:
    layers = {
        "a": LayerNodes(main=True, names=("a",), calls_function=False),
        "b": LayerNodes(main=False, names=("b/MatMul", "b/Add"), calls_function=False),
        "c": LayerNodes(main=True, names=("c", "c/bias"), calls_function=False),
    }
    ran = {
        "a": RanNode("BlastLinearPacked", "OtherExecutionProvider"),
        "b/MatMul": RanNode("MatMul"),
        "b/Add": RanNode("Add", "OtherExecutionProvider"),
        "c": RanNode("MatMul"),
        "c/bias": RanNode("Add", "OtherExecutionProvider"),
    }
    assert operators_of(layers, ran) == {
        "a": "BlastLinearPacked on OtherExecutionProvider",
        "b": "function body on OtherExecutionProvider",
        "c": "MatMul on OtherExecutionProvider",
    }


@pytest.mark.parametrize("activation", ["Relu", "Tanh", "Sigmoid"])
def test_what_was_decided_and_what_ran_agree(
    tmp_path: Path, form: str, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session's own word and a profile; on a flat input ONNX Runtime fuses a dense layer twice."""
    model = chain(random_layers())
    model.graph.node[1].op_type = activation
    for value in (model.graph.input[0], model.graph.output[0]):
        del value.type.tensor_type.shape.dim[0]
    onnx.save(model, tmp_path / "flat.onnx")
    np.savez(tmp_path / "samples.npz", x=inputs(random_layers(), 1, 5)["x"][0])
    bd.compile(tmp_path / "flat.onnx", forcing(form), tmp_path / "artifact", samples=tmp_path / "samples.npz")
    expected = {"kernel": "BlastLinearPacked", "body": FUNCTION_BODY, "dense": "Gemm"}[form]
    with bd.open(tmp_path / "artifact") as running:
        decided = running.executed_operators()
        monkeypatch.setattr(session_runner, "read_assignment", lambda session: None)
        ran = running.executed_operators()
    assert {name: operator.removeprefix("Fused") for name, operator in ran.items()} == {
        "block.0": expected,
        "block.1": expected,
    }
    assert {name: operator.removeprefix("Fused") for name, operator in decided.items()} == {
        "block.0": expected,
        "block.1": expected,
    }
    assert bd.verify(tmp_path / "artifact", layers=True).verdict == "passed"


def test_the_same_layer_called_twice_counts_twice(tmp_path: Path) -> None:
    (layer,) = random_layers((LayerSizes(12, 12, (2, 3), 4),))
    source = write_portable(tmp_path, [layer])
    model = onnx.load(source)
    again = helper.make_node("BlastLinear", ["x", *model.graph.node[0].input[1:]], ["first"], "again")
    again.domain = model.graph.node[0].domain
    again.attribute.extend(model.graph.node[0].attribute)
    model.graph.node[0].input[0] = "first"
    model.graph.node.insert(0, again)
    onnx.save(model, tmp_path / "twice.onnx")
    np.savez(tmp_path / "samples.npz", **inputs([layer], 2, 3))
    for form in FORMS:
        bd.compile(tmp_path / "twice.onnx", forcing(form), tmp_path / form, samples=tmp_path / "samples.npz")
        result = bd.verify(tmp_path / form, layers=True)
        assert result.verdict == "passed", result.reasons
        assert len(result.layers) == 2


def test_wrong_inputs_are_refused_before_the_runtime_sees_them(tmp_path: Path) -> None:
    with bd.open(compiled(tmp_path, "body")) as running:
        with pytest.raises(InvalidInputError, match=r"'x' must have shape \(batch, sequence, 19\)"):
            running.run({"x": np.zeros((1, 2, 18), np.float32)})
        with pytest.raises(InvalidInputError, match="'x' must have dtype float32"):
            running.run_tapped({"x": np.zeros((1, 2, 19))})
        with pytest.raises(InvalidInputError, match="'x' is missing"):
            running.run({})


def test_a_closed_runner_runs_no_more(tmp_path: Path) -> None:
    running = bd.open(compiled(tmp_path, "body"))
    running.close()
    running.close()
    sample = inputs(random_layers(), 1, 1)
    for use in (lambda: running.run(sample), lambda: running.run_tapped(sample), running.executed_operators):
        with pytest.raises(InvalidInputError, match="is closed"):
            use()


def test_running_capturing_and_profiling_may_take_turns(tmp_path: Path, form: str) -> None:
    sample = inputs(random_layers(), 2, 3)
    with bd.open(compiled(tmp_path, form), threads=1) as running:
        (first,) = running.run(sample).values()
        for _ in range(2):
            outputs, taps = running.run_tapped(sample)
            assert list(taps) == ["block.0", "block.1"]
            np.testing.assert_allclose(outputs["y"], first, rtol=1e-5, atol=1e-6)
            assert list(running.executed_operators()) == ["block.0", "block.1"]
            np.testing.assert_array_equal(running.run(sample)["y"], first)


def test_a_runner_needs_a_thread(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="threads must be at least 1"):
        bd.open(compiled(tmp_path, "body"), threads=0)


def test_several_threads_give_the_same_outputs(tmp_path: Path, form: str) -> None:
    folder = compiled(tmp_path, form)
    sample = inputs(random_layers(), 4, 33)
    with bd.open(folder, threads=1) as one, bd.open(folder, threads=2) as two:
        np.testing.assert_allclose(one.run(sample)["y"], two.run(sample)["y"], rtol=1e-5, atol=1e-6)


def test_sixteen_threads_share_a_runner(tmp_path: Path, form: str) -> None:
    """Every output has the same bits as alone, while other threads capture layers."""
    samples = [inputs(random_layers(), batch, 3, seed=batch) for batch in (1, 2, 5, 30)]
    with bd.open(compiled(tmp_path, form), threads=1) as running:
        alone = [running.run(sample)["y"] for sample in samples]

        def run(index: int) -> None:
            sample, expected = samples[index % 4], alone[index % 4]
            if index % 9 == 0:
                np.testing.assert_allclose(running.run_tapped(sample)[0]["y"], expected, rtol=1e-5, atol=1e-6)
            else:
                np.testing.assert_array_equal(running.run(sample)["y"], expected)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(run, range(96)))


def test_a_runtime_that_is_too_old_is_refused(tmp_path: Path) -> None:
    folder = compiled(tmp_path, "body")
    manifest = open_artifact(folder).manifest
    operators = dataclasses.replace(manifest.operators, oldest_runtime="99.0")
    changed = dataclasses.replace(manifest, operators=operators)
    (folder / "manifest.json").write_bytes(artifacts.encode(changed))
    with pytest.raises(UnsupportedMachineError, match=r"needs onnxruntime 99\.0 or newer"):
        bd.open(folder)


def test_an_operator_of_a_later_version_is_refused(tmp_path: Path) -> None:
    folder = compiled(tmp_path, "kernel")
    manifest = open_artifact(folder).manifest
    for versions in ({"BlastLinearPacked": 99}, {"Unheard": 1}):
        operators = dataclasses.replace(manifest.operators, versions=versions)
        changed = dataclasses.replace(manifest, operators=operators)
        (folder / "manifest.json").write_bytes(artifacts.encode(changed))
        with pytest.raises(UnsupportedMachineError, match=r"needs operator \w+ of version \d+.*upgrade"):
            bd.open(folder)


def test_weights_that_the_manifest_does_not_name_are_refused(tmp_path: Path) -> None:
    layers = random_layers((LayerSizes(64, 64, (2, 2), 32),))
    bd.compile(write_portable(tmp_path, layers), forcing("dense"), tmp_path / "artifact")
    manifest = open_artifact(tmp_path / "artifact").manifest
    assert [file.path for file in manifest.files if file.role == "weights"] == ["model.onnx.data"]
    kept = tuple(file for file in manifest.files if file.role != "weights")
    changed = dataclasses.replace(manifest, files=kept)
    (tmp_path / "artifact/manifest.json").write_bytes(artifacts.encode(changed))
    with pytest.raises(InvalidInputError, match=r"keeps weights in model\.onnx\.data.*does not name"):
        bd.open(tmp_path / "artifact")


def test_a_model_that_the_runtime_refuses_is_an_error_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a nonsense")
    with pytest.raises(InvalidInputError, match="refuses the model") as caught:
        make_session(tmp_path / "model.onnx", folder=tmp_path, operator_library=False, threads=None)
    assert "\n" not in str(caught.value)


def test_the_stock_artifact_needs_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_portable(tmp_path, random_layers())
    monkeypatch.setenv("BLAST_DEPLOY_LIBRARY", str(tmp_path / "gone.so"))
    bd.compile(source, "cpu-stock", tmp_path / "artifact")
    assert bd.verify(tmp_path / "artifact", layers=True).verdict == "passed"


def test_the_promised_instruction_set_is_written_into_the_kernel(tmp_path: Path) -> None:
    source = write_portable(tmp_path, random_layers())
    bd.compile(source, forcing("kernel", "cpu-x86-64-v3"), tmp_path / "artifact")
    assert open_artifact(tmp_path / "artifact").manifest.operators.instruction_set == "x86-64-v3"
    nodes = [node for node in ir.load(tmp_path / "artifact/model.onnx").graph if node.domain == "ai.blast"]
    assert len(nodes) == 2
    assert {node.attributes["instruction_set"].as_string() for node in nodes} == {"x86-64-v3"}


def test_a_dense_model_runs(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((70, 30))
    onnx.save(dense_model(weight), tmp_path / "dense.onnx")
    x = np.random.default_rng(1).standard_normal((2, 3, 70)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", x=x)
    for target in ("cpu-stock", "cpu-native"):
        bd.compile(tmp_path / "dense.onnx", target, tmp_path / target, samples=tmp_path / "samples.npz")
        with bd.open(tmp_path / target) as running:
            assert running.executed_operators() == {}
            outputs, taps = running.run_tapped({"x": x})
        assert taps == {}
        np.testing.assert_allclose(outputs["y"], x @ weight, rtol=1e-4, atol=1e-4)


def test_an_artifact_is_whole_without_its_source(tmp_path: Path, form: str) -> None:
    compiled(tmp_path, form)
    for name in ("model.onnx", "model.reference.npz"):
        (tmp_path / name).unlink()
    shutil.move(tmp_path / "artifact", tmp_path / "moved")
    assert bd.verify(tmp_path / "moved", layers=True).verdict == "passed"
