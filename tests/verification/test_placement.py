"""In place: what ran is what the plan promises, and the plan covers what is there."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import onnx_ir as ir
import pytest
from planting import SQUARE, reasons, rewrite
from portable_models import forcing, random_layers, write_portable

import blast_deploy as bd
from blast_deploy.artifact import read_artifact
from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.passes.save import save_mapped


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
