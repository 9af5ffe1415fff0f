"""Quantised layers: right kernels pass whatever they round otherwise, slightly wrong ones fail."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from planting import edit_weight, reasons, rewrite
from portable_models import LayerSizes, forcing, random_layers, write_portable
from quantized_kernels import WRONG, Kernel, example

import blast_deploy as bd
from blast_deploy.artifact import read_artifact
from blast_deploy.backends.onnxruntime.session_runner import SessionRunner
from blast_deploy.factors import LayerFactors
from blast_deploy.runner import Outputs, Taps
from blast_deploy.tolerance import deviation
from blast_deploy.verification.bounds import layer_tolerance
from blast_deploy.verification.flips import flip_allowance

EXAMPLES = (
    ((96, 80), (4, 4), 70),
    ((37, 70), (3, 2), 33),
    ((130, 260), (2, 2), 150),
    ((64, 96), (1, 1), 65),
)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("sizes", EXAMPLES)
def test_a_right_kernel_passes(sizes: Any, bits: int) -> None:
    layer, matrix, x = example(*sizes, bits)
    truth = layer.apply(x)
    bound = layer_tolerance(layer, x, truth, "float32")
    found = deviation(Kernel().run(matrix, layer.tensors["bias"], x), truth)
    assert found.rms <= bound.rms < 0.01
    assert found.max <= bound.max < 0.02


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("sizes", EXAMPLES)
def test_a_wrong_kernel_fails(sizes: Any, bits: int, wrong: str) -> None:
    layer, matrix, x = example(*sizes, bits)
    truth = layer.apply(x)
    bound = layer_tolerance(layer, x, truth, "float32")
    found = deviation(WRONG[wrong].run(matrix, layer.tensors["bias"], x), truth)
    assert found.rms > bound.rms or found.max > bound.max, (found, bound)


def hand_worked(scale: float) -> LayerFactors:
    """One block: X becomes 127, 0, 1; w = 127, scale; y = (3 * 127 + 5 * w's second) / 2."""
    tensors: dict[str, NDArray[Any]] = {
        "Uq": np.array([[[3, 5]]], np.int8),
        "U_scale": np.array([[[0.5]]], np.float32),
        "S": np.array([[[1, 1]]], np.int8),
        "Vq": np.array([[[1, 0, 0], [0, 1, 1]]], np.int8),
        "V_scale": np.array([[[1.0], [scale]]], np.float32),
        "bias": np.zeros(1, np.float32),
    }
    attributes: dict[str, int | str] = {"bits": 8, "u_block_size": 2, "v_block_size": 3, "activation": "int8"}
    return LayerFactors("layer", "QBlastLinear", 1, 3, tensors, attributes)


def test_a_value_on_a_half_may_go_either_way_and_others_may_not() -> None:
    x = np.array([[127.0, 0.5, 1.4]], np.float32)
    # w's second value is 2.5: as 2 it gives 195.5, as 3 it gives 198; a step is worth 5 / 2.
    assert flip_allowance(hand_worked(2.5), x).tolist() == [[2.5]]
    assert flip_allowance(hand_worked(2.5 + 1e-5), x).tolist() == [[2.5]]
    assert flip_allowance(hand_worked(2.51), x).tolist() == [[0.0]]
    assert flip_allowance(hand_worked(2.0), x).tolist() == [[0.0]]


def test_rows_of_zeros_cannot_flip() -> None:
    layer, _, x = example(((37, 70), (3, 2), 33)[0], (3, 2), 33, 8)
    assert not flip_allowance(layer, np.zeros_like(x)).any()


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An honest artifact for each meaning of activation; never written to."""
    folder = tmp_path_factory.mktemp("quantised")
    sizes = (LayerSizes(96, 96, (4, 4), 40), LayerSizes(80, 96, (4, 4), 40))
    source = write_portable(folder, random_layers(sizes))
    found = {}
    for activation in ("int8", "float"):
        bd.quantize(source, folder / f"{activation}.onnx", activation=activation)
        bd.compile(folder / f"{activation}.onnx", forcing("body"), folder / activation)
        found[activation] = folder / activation
    return found


@pytest.fixture(scope="module")
def in_kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An honest artifact whose layers run in the integer kernel; never written to."""
    folder = tmp_path_factory.mktemp("kernels")
    sizes = (LayerSizes(96, 96, (4, 4), 40), LayerSizes(80, 96, (4, 4), 40))
    bd.quantize(write_portable(folder, random_layers(sizes)), folder / "int8.onnx")
    bd.compile(folder / "int8.onnx", forcing("kernel"), folder / "artifact")
    return folder / "artifact"


def test_the_integer_kernel_passes(in_kernels: Path) -> None:
    result = bd.verify(in_kernels, layers=True)
    assert (result.verdict, result.reasons) == ("passed", ())
    assert set(result.kernels.values()) == {"QBlastLinearPacked"}


@pytest.mark.parametrize("factor", [1.02, 0.98])
def test_a_kernel_that_is_two_percent_wrong_is_seen(
    in_kernels: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    """Every layer's output is changed as it is captured; all else of the artifact is right."""
    captured = SessionRunner._run_tapped

    def spoiled(self: SessionRunner, given: Any) -> tuple[Outputs, Taps]:
        outputs, taps = captured(self, given)
        wrong = {name: tap._replace(left=tap.left * np.float32(factor)) for name, tap in taps.items()}
        return outputs, wrong

    monkeypatch.setattr(SessionRunner, "_run_tapped", spoiled)
    text = reasons(bd.verify(in_kernels, layers=True))
    assert "layer block.0: error rms" in text
    assert "layer block.1: error rms" in text


@pytest.fixture(params=["int8", "float"])
def copy(request: pytest.FixtureRequest, quantised: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(quantised[request.param], tmp_path / "artifact")
    return tmp_path / "artifact"


def test_honest_artifacts_pass_and_say_how_far_float64_is(quantised: dict[str, Path]) -> None:
    for activation, folder in quantised.items():
        result = bd.verify(folder, layers=True)
        assert (result.verdict, result.reasons) == ("passed", ())
        told = ["against float64 throughout" in layer.reason for layer in result.layers]
        assert told == [activation == "int8"] * 2
        assert all(layer.rms_bound < 0.005 for layer in result.layers)


def scaled(array: NDArray[Any]) -> NDArray[Any]:
    result: NDArray[Any] = array * np.float32(1.02)
    return result


def one_row(array: NDArray[Any]) -> NDArray[Any]:
    array[0, 0] *= np.float32(1.1)
    return array


def shifted(array: NDArray[Any]) -> NDArray[Any]:
    result: NDArray[Any] = np.roll(array, 1, axis=-1)
    return result


def one_sign(array: NDArray[Any]) -> NDArray[Any]:
    at = np.unravel_index(np.abs(array.astype(np.int16)).argmax(), array.shape)
    array[at] = -np.clip(array[at], -127, 127)
    return array


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("U_scale", scaled),
        ("V_scale", scaled),
        ("U_scale", one_row),
        ("V_scale", one_row),
        ("Uq", shifted),
        ("Vq", shifted),
        ("S", shifted),
        ("Uq", one_sign),
        ("S", one_sign),
        ("bias", shifted),
    ],
)
def test_a_wrong_weight_is_seen(copy: Path, name: str, edit: Any) -> None:
    edit_weight(copy, f"block.0.{name}", edit)
    text = reasons(bd.verify(copy, layers=True))
    assert "layer block.0: error rms" in text


@pytest.mark.parametrize("activation", ["int8", "float"])
def test_the_other_meaning_of_activation_is_seen(
    quantised: dict[str, Path], tmp_path: Path, activation: str
) -> None:
    other = "float" if activation == "int8" else "int8"
    shutil.copytree(quantised[activation], tmp_path / "artifact")
    records = read_artifact(tmp_path / "artifact").manifest.layers
    changed = tuple(
        dataclasses.replace(each, attributes=each.attributes | {"activation": other}) for each in records
    )
    rewrite(tmp_path / "artifact", layers=changed)
    text = reasons(bd.verify(tmp_path / "artifact", layers=True))
    assert "layer block.0: error rms" in text
    assert "layer block.1: error rms" in text


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({}, "bits must be an integer"),
        ({"bits": 8, "u_block_size": 40, "v_block_size": 24, "activation": "none"}, "float or int8"),
        ({"bits": 4, "u_block_size": 40, "v_block_size": 24, "activation": "int8"}, "must lie in -8 to 7"),
        ({"bits": 8, "u_block_size": 4, "v_block_size": 24, "activation": "int8"}, "U_scale must be"),
    ],
)
def test_attributes_that_do_not_fit_fail(
    quantised: dict[str, Path], tmp_path: Path, attributes: dict[str, Any], words: str
) -> None:
    shutil.copytree(quantised["int8"], tmp_path / "artifact")
    records = read_artifact(tmp_path / "artifact").manifest.layers
    changed = tuple(dataclasses.replace(each, attributes=attributes) for each in records)
    rewrite(tmp_path / "artifact", layers=changed)
    assert words in reasons(bd.verify(tmp_path / "artifact", layers=True))
