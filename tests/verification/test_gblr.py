"""A GBLR model from the portable file to the verdict, in each form, and what a fault does to it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gblr_models
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from planting import edit_weight, reasons, rewrite
from portable_models import forcing
from safetensors.numpy import load_file, save_file

import blast_deploy as bd
from blast_deploy import artifact
from blast_deploy.targets import Target, load_target

RAN = {"body": "function body", "dense": "MatMul", "kernel": "GblrLinearPacked"}


def target(form: str) -> Target:
    """The body is costed as two dense products: only calls and values that cost nothing choose it here."""
    if form == "kernel":
        return forcing("kernel", "cpu-native")
    if form == "dense":
        return forcing("dense", "cpu-stock")
    free = msgspec.structs.replace(
        load_target("cpu-stock").costs.dense, call_microseconds=1e-6, values_gigabytes_per_second=1e9
    )
    costs = msgspec.structs.replace(load_target("cpu-stock").costs, dense=free)
    return msgspec.structs.replace(load_target("cpu-stock"), costs=costs)


@pytest.fixture(scope="module", params=["body", "dense", "kernel"])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("gblr")
    model = gblr_models.chain().write(folder)
    result = bd.compile(model, target(request.param), folder / "artifact")
    assert {layer.form for layer in result.plan.layers} == {request.param}
    return request.param, result.path


def test_it_passes_layer_by_layer(compiled: tuple[str, Path]) -> None:
    form, path = compiled
    result = bd.verify(path, layers=True)
    assert (result.verdict, result.reasons) == ("passed", ())
    assert [each.subject for each in result.layers] == ["block.0", "block.1"]
    assert set(result.kernels.values()) == {RAN[form]}


def test_inspection_tells_the_structure(compiled: tuple[str, Path]) -> None:
    form, path = compiled
    layers = bd.inspect(path).layers
    matrices = gblr_models.chain().matrices
    assert [layer.operator for layer in layers] == ["GblrLinear"] * 2
    assert [layer.form for layer in layers] == [form] * 2
    assert [layer.parameters for layer in layers] == [each.cost.parameters for each in matrices]
    assert layers[0].description.startswith("6 components on ")


def copied(path: Path, folder: Path) -> Path:
    return Path(shutil.copytree(path, folder / "artifact"))


@pytest.mark.parametrize("part", ["u", "v", "u_start", "v_start", "bias"])
def test_other_factors_than_were_compiled_fail_their_layer(
    compiled: tuple[str, Path], part: str, tmp_path: Path
) -> None:
    folder = copied(compiled[1], tmp_path)
    tensors = load_file(folder / artifact.FACTORS)
    spoilt = tensors[f"block.1.{part}"].copy()
    spoilt[:2] = spoilt[:2][::-1]
    save_file(tensors | {f"block.1.{part}": spoilt}, folder / artifact.FACTORS)
    rewrite(folder)
    result = bd.verify(folder, layers=True)
    assert [each.subject for each in result.layers if each.verdict == "failed"] == ["block.1"]
    assert "layer block.1: error rms" in reasons(result)


def test_a_lost_value_fails(compiled: tuple[str, Path], tmp_path: Path) -> None:
    form, folder = compiled[0], copied(compiled[1], tmp_path)

    def lose(array: NDArray[Any]) -> NDArray[Any]:
        values = array.view(np.float32)
        values.flat[np.flatnonzero(values)[-1]] = 0
        return array

    edit_weight(
        folder, {"body": "block.0.u", "dense": "block.0.weight", "kernel": "block.0.packed"}[form], lose
    )
    result = bd.verify(folder, layers=True)
    assert [each.subject for each in result.layers if each.verdict == "failed"] == ["block.0"]


def test_factors_that_make_no_matrix_fail(compiled: tuple[str, Path], tmp_path: Path) -> None:
    folder = copied(compiled[1], tmp_path)
    tensors = load_file(folder / artifact.FACTORS)
    save_file(tensors | {"block.1.u": tensors["block.1.u"][1:]}, folder / artifact.FACTORS)
    rewrite(folder)
    assert "layer block.1: its truth cannot be computed (values must be" in reasons(
        bd.verify(folder, layers=True)
    )
