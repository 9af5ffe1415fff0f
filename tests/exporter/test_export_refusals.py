"""What export refuses, in one sentence, leaving nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import blast_deploy as bd
from blast_deploy.errors import BlastDeployError, InvalidInputError, OutputExistsError
from blast_deploy.exporter import export as export_module
from blast_deploy.structures.blast.module import BlastLinear


def layer() -> BlastLinear:
    return BlastLinear(6, 4, blocks=2, rank=2)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = layer()

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise ValueError("this way is closed")
        result: Tensor = self.layer(x)
        return result


class Words(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Embedding(3, 6), layer())


class Failing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / (1 // (x.dtype == torch.float32))


X = torch.zeros(2, 6)
ROWS = {"x": {0: "rows"}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"example_inputs": torch.zeros(2, 5)}, "last axis of the input must be 6"),
        ({"example_inputs": torch.zeros(2, 6, dtype=torch.float64)}, "U must be torch.float64"),
        ({"example_inputs": ()}, "at least one tensor"),
        ({"example_inputs": (1, None)}, "at least one tensor"),
        ({"example_inputs": None}, "BlastLinear is no Hugging Face model"),
        ({"example_inputs": None, "dynamic_axes": ROWS}, "belong to example_inputs"),
        ({"input_names": ["a", "b"]}, r"input_names must be 1 different names, .*\(got a, b\)"),
        ({"dynamic_axes": {"y": {0: "rows"}}}, "no input 'y'; the inputs are x"),
        ({"dynamic_axes": {"x": {2: "rows"}}}, "axis 2 of input 'x' must be 0 to 1"),
        ({"example_inputs": torch.zeros(1, 6), "dynamic_axes": ROWS}, r"must be at least 2 .*\(got 1\)"),
        ({"dynamic_axes": {"x": {1: "width"}}}, "torch cannot export this module"),
        ({"samples": [{"y": np.zeros((2, 6), "f")}]}, "input 'x' is missing"),
        ({"samples": [{"x": np.zeros((2, 6), "f"), "z": np.zeros(1)}]}, "input 'z' is not known"),
        ({"samples": [{"x": np.zeros((2, 6))}]}, r"must be float32 with 2 axes .*\(got float64"),
        ({"samples": [{"x": np.zeros(6, "f")}]}, r"\(got float32 with 1 axes"),
        ({"samples": [{"x": np.zeros((3, 6), "f")}]}, "plain ONNX Runtime cannot run"),
        (
            {"dynamic_axes": ROWS, "samples": [{"x": np.zeros((3, 5), "f")}]},
            "last axis of the input must be 6",
        ),
        ({"samples": {"x": np.zeros((2, 6), "f")}}, r"samples must be a list of mappings .*'x'"),
        ({"dynamic_axes": {"x": [0]}}, r"must map the axes of input 'x' to names.*\(got \[0\]\)"),
        ({"example_inputs": X / 0}, "the module itself gives NaN or infinity in float64 for output"),
        ({"output_names": ["y", "z"]}, "output_names must be 1 names"),
        ({"source": Branching()}, "torch cannot export this module"),
        ({"source": layer().bfloat16(), "example_inputs": X.bfloat16()}, "example input 0 is bfloat16"),
        (
            {"source": Words().bfloat16(), "example_inputs": torch.zeros(2, dtype=int)},
            "which NumPy lacks",
        ),
        ({"source": Failing()}, r"fails in float64 on sample 0 \(ZeroDivisionError"),
        ({"source": "no-such-folder", "example_inputs": None}, "no-such-folder is no folder"),
        ({"source": "no-such-folder"}, "example_inputs do not go with it"),
        ({"path": "model.pt"}, r"must end in \.onnx"),
        ({"path": None}, "no output is named"),
    ],
)
def test_bad_arguments(
    arguments: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match=message) as caught:
        bd.export(**({"source": layer(), "example_inputs": X, "path": "model.onnx"} | arguments))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "model.reference.npz"])
def test_existing_files_are_kept_without_force(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(OutputExistsError, match=f"{name} exists already"):
        bd.export(layer(), X, tmp_path / "model.onnx")
    assert (tmp_path / name).read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_force_replaces_all_of_them(tmp_path: Path) -> None:
    for name in ("model.onnx", "model.onnx.data", "model.reference.npz"):
        (tmp_path / name).write_text("old")
    bd.export(layer(), X, tmp_path / "model.onnx", force=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "model.reference.npz"]
    assert all(file.read_bytes() != b"old" for file in tmp_path.iterdir())


def test_a_folder_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(InvalidInputError, match="is a folder"):
        bd.export(layer(), X, tmp_path / "model.onnx", force=True)


@pytest.mark.parametrize("name", ["model.onnx.data", "model.reference.npz"])
def test_a_folder_in_the_place_of_a_file_beside_the_model(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InvalidInputError, match=f"{name} is a folder, and a file of that name belongs to"):
        bd.export(layer(), X, tmp_path / "model.onnx", force=True)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_file_that_another_run_made_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export_module.check_outputs

    def check(*arguments: Any) -> None:
        (tmp_path / "model.onnx").write_text("theirs")
        real(*arguments)

    monkeypatch.setattr(export_module, "check_outputs", check)
    with pytest.raises(OutputExistsError, match="exists"):
        bd.export(layer(), X, tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "theirs"


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="nothing can be written beside"):
        bd.export(layer(), X, tmp_path / "file" / "model.onnx")


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("check_file", KeyboardInterrupt()),
        ("float64_outputs", InvalidInputError("no")),
        ("check_outputs", KeyboardInterrupt()),
    ],
)
def test_an_interrupt_leaves_what_was_there(
    step: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_text("old")

    def stop(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(export_module, step, stop)
    with pytest.raises((KeyboardInterrupt, BlastDeployError)):
        bd.export(layer(), X, tmp_path / "model.onnx", force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "old"


def test_a_wrong_graph_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that gives other values than torch exported: the check must see it."""
    module = layer()
    real = export_module.float64_outputs

    def shifted(*arguments: Any) -> Any:
        return [{name: array + 1 for name, array in outputs.items()} for outputs in real(*arguments)]

    monkeypatch.setattr(export_module, "float64_outputs", shifted)
    with pytest.raises(InvalidInputError, match="differs from the module's by"):
        bd.export(module, torch.randn(2, 6), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
