"""Any torch module with BLAST layers becomes one portable ONNX file."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

import blast_deploy as bd
from blast_deploy import model_files, reference
from blast_deploy.errors import InvalidInputError
from blast_deploy.model_paths import data_path
from blast_deploy.passes.load import load_model
from blast_deploy.passes.structured import structured_layers
from blast_deploy.results import ExportResult
from blast_deploy.structures.blast.module import BlastLinear

AXES = {"x": {0: "batch", 1: "rows"}}


class Perceptron(nn.Module):
    """Sizes that do not divide, a layer without bias, dropout, and a dense layer between."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = BlastLinear(7, 10, blocks=(3, 2), rank=4)
        self.middle = nn.ModuleList(
            [nn.Linear(10, 11), BlastLinear(11, 5, blocks=(2, 3), rank=3, bias=False)]
        )
        self.drop = nn.Dropout(0.5)
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.drop(torch.tanh(self.enter(x)))
        result: Tensor = self.middle[1](torch.tanh(self.middle[0](hidden)))
        return result


@pytest.fixture(scope="module")
def perceptron() -> Perceptron:
    torch.manual_seed(0)
    return Perceptron()


@pytest.fixture(scope="module")
def exported(perceptron: Perceptron, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    return bd.export(perceptron, torch.randn(2, 3, 7), path, output_names=["y"], dynamic_axes=AXES)


def run(path: Path, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
    outputs: list[NDArray[Any]] = onnxruntime.InferenceSession(path).run(None, inputs)
    return outputs


def in_float64(module: nn.Module, x: NDArray[Any]) -> NDArray[np.float64]:
    with torch.no_grad():
        result: NDArray[np.float64] = copy.deepcopy(module).double().eval()(torch.tensor(x).double()).numpy()
    return result


def test_result_describes_the_file(exported: ExportResult) -> None:
    assert exported.structured_layers == ("enter", "middle.1")
    assert (exported.opset, exported.ir_version) == (20, 10)
    assert exported.bytes == exported.path.stat().st_size
    assert [(spec.name, spec.dtype, spec.shape) for spec in exported.inputs] == [
        ("x", "float32", ("batch", "rows", 7))
    ]
    assert [(spec.name, spec.dtype, spec.shape) for spec in exported.outputs] == [
        ("y", "float32", ("batch", "rows", 5))
    ]
    assert sorted(file.name for file in exported.path.parent.iterdir()) == [
        "model.onnx",
        "model.reference.npz",
    ]


def test_file_is_valid_and_holds_one_function(exported: ExportResult) -> None:
    onnx.checker.check_model(exported.path, full_check=True)
    proto = onnx.load(exported.path)
    onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    assert [(function.domain, function.name) for function in proto.functions] == [("ai.blast", "BlastLinear")]
    assert {entry.domain: entry.version for entry in proto.opset_import} == {"": 20, "ai.blast": 1}
    layers = [node for node in proto.graph.node if node.domain == "ai.blast"]
    assert [node.name for node in layers] == ["enter", "middle.1"]
    assert list(layers[0].input)[1:] == ["enter.U", "enter.S", "enter.V", "enter.bias"]
    assert list(layers[1].input)[1:] == [f"middle.1.{name}" for name in ("U", "S", "V", "bias")]


def test_nothing_of_this_machine_is_in_the_file(exported: ExportResult) -> None:
    content = exported.path.read_bytes()
    assert str(Path(__file__).parent).encode() not in content
    assert b"stack_trace" not in content


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 17), (3, 0)])
def test_axes_are_dynamic(perceptron: Perceptron, exported: ExportResult, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal((*shape, 7)).astype(np.float32)
    truth = in_float64(perceptron, x)
    (y,) = run(exported.path, x=x)
    np.testing.assert_allclose(y, truth, rtol=1e-5, atol=1e-4)
    (y,) = ReferenceEvaluator(onnx.load(exported.path)).run(None, {"x": x})
    np.testing.assert_allclose(y, truth, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("level", ["DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL"])
def test_every_optimisation_level(perceptron: Perceptron, exported: ExportResult, level: str) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    x = np.random.default_rng(0).standard_normal((2, 4, 7)).astype(np.float32)
    (y,) = onnxruntime.InferenceSession(exported.path, options).run(None, {"x": x})
    np.testing.assert_allclose(y, in_float64(perceptron, x), rtol=1e-5, atol=1e-4)


def test_another_width_is_an_error(exported: ExportResult) -> None:
    with pytest.raises(Exception, match=r"[Ii]nvalid"):
        run(exported.path, x=np.zeros((2, 3, 8), np.float32))


def test_factors_are_kept_exactly(perceptron: Perceptron, exported: ExportResult) -> None:
    enter, last = structured_layers(load_model(exported.path))
    np.testing.assert_array_equal(enter.matrix().u, perceptron.enter.U.detach().numpy())
    assert not last.bias().any()


def test_reference_is_the_module_in_float64(perceptron: Perceptron, exported: ExportResult) -> None:
    assert exported.reference is not None
    found = reference.load(exported.reference, reference.sha256(exported.path))
    (sample,) = found.samples
    assert sample.dense_outputs is None
    assert sample.inputs["x"].dtype == np.float32
    assert sample.outputs["y"].dtype == np.float64
    np.testing.assert_allclose(sample.outputs["y"], in_float64(perceptron, sample.inputs["x"]), rtol=1e-12)


def test_the_module_is_not_touched(tmp_path: Path) -> None:
    module = Perceptron().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    bd.export(module, torch.randn(2, 3, 7), tmp_path / "m.onnx", dynamic_axes=AXES, dense=True)
    assert module.training
    assert isinstance(module.enter, BlastLinear)
    for name, tensor in module.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_dense_export_multiplies_out(perceptron: Perceptron, tmp_path: Path) -> None:
    path = tmp_path / "dense.onnx"
    result = bd.export(perceptron, torch.randn(2, 3, 7), path, dynamic_axes=AXES, dense=True)
    assert result.structured_layers == ()
    proto = onnx.load(path)
    assert not proto.functions
    assert {entry.domain for entry in proto.opset_import} == {""}
    x = np.random.default_rng(0).standard_normal((4, 2, 7)).astype(np.float32)
    np.testing.assert_allclose(run(path, x=x)[0], in_float64(perceptron, x), rtol=1e-5, atol=1e-4)


def test_samples_and_the_dense_original_are_recorded(perceptron: Perceptron, tmp_path: Path) -> None:
    original = nn.Linear(7, 5).eval()
    generator = np.random.default_rng(0)
    samples = [{"x": generator.standard_normal((size, 2, 7)).astype(np.float32)} for size in (1, 4)]
    result = bd.export(
        perceptron,
        torch.randn(2, 3, 7),
        tmp_path / "model.onnx",
        output_names=["y"],
        dynamic_axes=AXES,
        samples=samples,
        dense_module=original,
    )
    assert result.reference is not None
    for given, found in zip(samples, reference.load(result.reference).samples, strict=True):
        np.testing.assert_array_equal(found.inputs["x"], given["x"])
        np.testing.assert_allclose(found.outputs["y"], in_float64(perceptron, given["x"]), rtol=1e-12)
        assert found.dense_outputs is not None
        np.testing.assert_allclose(found.dense_outputs["y"], in_float64(original, given["x"]), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_float_types(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = BlastLinear(7, 5, blocks=(2, 3), rank=4, bias=False, dtype=dtype)
    x = torch.randn(3, 7, dtype=dtype)
    result = bd.export(layer, x, tmp_path / "layer.onnx", dynamic_axes={"x": {0: "rows"}})
    assert result.structured_layers == ("layer",)
    assert result.outputs[0].dtype == str(dtype).removeprefix("torch.")
    tolerance = 8 * torch.finfo(dtype).eps
    truth = layer.matrix().apply(x.numpy())
    (y,) = run(result.path, x=x.numpy())
    np.testing.assert_allclose(y, truth, rtol=tolerance, atol=tolerance * abs(truth).max())


class Nested(nn.Module):
    """Keyword arguments, a nested list, a constant, two outputs, one module called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = BlastLinear(6, 6, blocks=2, rank=3)

    def forward(self, past: list[tuple[Tensor, Tensor]], scale: float, ids: Tensor) -> dict[str, Any]:
        first = self.layer(past[0][0]) * scale
        return {"first": first, "rest": [self.layer(past[0][1]), ids + 1, None]}


def test_nested_arguments_and_a_layer_called_twice(tmp_path: Path) -> None:
    module = Nested()
    example = {
        "past": [(torch.randn(2, 6), torch.randn(3, 6))],
        "scale": 2.0,
        "ids": torch.arange(4),
    }
    axes = {"past_0_0": {0: "near"}, "past_0_1": {0: "far"}}
    result = bd.export(
        module,
        example,
        tmp_path / "nested.onnx",
        dynamic_axes=axes,
        output_names=["first", "second", "ids_out"],
    )
    assert [spec.name for spec in result.inputs] == ["past_0_0", "past_0_1", "ids"]
    assert result.structured_layers == ("layer", "layer#2")
    assert result.outputs[2].dtype == "int64"
    inputs = {
        "past_0_0": np.ones((5, 6), np.float32),
        "past_0_1": np.ones((1, 6), np.float32),
        "ids": np.arange(4),
    }
    first, second, ids = run(result.path, **inputs)
    assert (first.shape, second.shape) == ((5, 6), (1, 6))
    np.testing.assert_allclose(first[:1], 2 * second, rtol=1e-6)
    np.testing.assert_array_equal(ids, [1, 2, 3, 4])


def test_large_models_keep_their_weights_outside(
    perceptron: Perceptron, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "EMBEDDED_LIMIT", 1000)
    layer = BlastLinear(300, 200, blocks=4, rank=40)
    path = tmp_path / "large.onnx"
    result = bd.export(layer, torch.randn(2, 300), path, dynamic_axes={"x": {0: "rows"}})
    assert result.bytes == path.stat().st_size + data_path(path).stat().st_size
    assert data_path(path).stat().st_size >= layer.U.nbytes + layer.V.nbytes
    onnx.checker.check_model(path, full_check=True)
    x = np.random.default_rng(0).standard_normal((3, 300)).astype(np.float32)
    bias = np.zeros(200) if layer.bias is None else layer.bias.detach().numpy()
    np.testing.assert_allclose(run(path, x=x)[0], layer.matrix().apply(x, bias), rtol=1e-4, atol=1e-4)
    # The reference is bound to the model file, and that to its data.
    damaged = bytearray(data_path(path).read_bytes())
    damaged[5000] ^= 1
    data_path(path).write_bytes(damaged)
    with pytest.raises(InvalidInputError, match=r"large\.onnx\.data was changed after export"):
        bd.compile(path, "cpu-native", tmp_path / "artifact")
    damaged[5000] ^= 1
    data_path(path).write_bytes(damaged)
    compiled = bd.compile(path, "cpu-native", tmp_path / "artifact")
    assert not onnx.load(compiled.path / "model.onnx", load_external_data=False).metadata_props
    # A smaller export to the same name takes the data file away.
    monkeypatch.undo()
    bd.export(perceptron, torch.randn(2, 3, 7), path, force=True)
    assert not data_path(path).exists()


def test_export_is_quiet_and_repeatable(
    perceptron: Perceptron,
    exported: ExportResult,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    steps: list[tuple[int, int, str]] = []
    bd.export(
        perceptron,
        torch.randn(2, 3, 7),
        tmp_path / "again.onnx",
        output_names=["y"],
        dynamic_axes=AXES,
        progress=lambda done, total, what: steps.append((done, total, what)),
    )
    assert capfd.readouterr() == ("", "")
    assert not list(recwarn)
    assert (tmp_path / "again.onnx").read_bytes() == exported.path.read_bytes()
    assert [done for done, _, _ in steps] == list(range(steps[0][1]))


def test_layers_that_share_a_factor_keep_their_own_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(BlastLinear(6, 6, blocks=2, rank=2), nn.Tanh(), BlastLinear(6, 6, blocks=2, rank=2))
    model[2].U = model[0].U
    result = bd.export(model, torch.randn(3, 6), tmp_path / "model.onnx")
    assert result.structured_layers == ("0", "2")


def test_samples_may_be_views_with_negative_strides(tmp_path: Path) -> None:
    sample = np.random.default_rng(0).normal(size=(2, 6)).astype("f")[::-1]
    layer = BlastLinear(6, 4, blocks=2, rank=2)
    result = bd.export(layer, torch.zeros(2, 6), tmp_path / "model.onnx", samples=[{"x": sample}])
    (recorded,) = reference.load(result.reference).samples
    assert np.array_equal(recorded.inputs["x"], sample)
    expected = layer(torch.from_numpy(sample.copy())).detach().numpy()
    np.testing.assert_allclose(recorded.outputs[result.outputs[0].name], expected, rtol=1e-5, atol=1e-6)
