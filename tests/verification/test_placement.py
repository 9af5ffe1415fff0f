"""In place: what ran is what the plan promises, and the plan covers what is there."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import msgspec
import onnx_ir as ir
import pytest
from planting import SQUARE, edit_model, reasons, rewrite
from portable_models import forcing, random_layers, write_portable

import blast_deploy as bd
from blast_deploy.artifact import read_artifact
from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.passes.save import save_mapped
from blast_deploy.verification.placement import misplaced_layers


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


def test_a_manifest_that_names_no_layer_is_a_failure(copy: Path) -> None:
    plan = dataclasses.replace(read_artifact(copy).manifest.plan, layers=())
    rewrite(copy, plan=plan, layers=())
    text = reasons(bd.verify(copy, layers=True))
    for layer in ("block.0", "block.1"):
        assert f"layer {layer} ran, but the manifest does not name it" in text
        assert f"layer {layer} has factors, but the manifest does not name it" in text


def test_layers_that_nothing_names_any_more_are_a_failure(copy: Path, form: str) -> None:
    """The model's marks are gone too: what is left are the factors, and the kernels."""

    def unmark(model: ir.Model) -> None:
        for node in model.graph:
            node.metadata_props.clear()

    edit_model(copy, unmark)
    plan = dataclasses.replace(read_artifact(copy).manifest.plan, layers=())
    rewrite(copy, plan=plan, layers=())
    text = reasons(bd.verify(copy, layers=True))
    assert "layer block.0 has factors, but the manifest does not name it" in text
    assert ("layer block.0 ran, but the manifest does not name it" in text) is (form == "kernel")


def test_a_standard_operator_is_no_kernel_whatever_the_manifest_says(
    honest: dict[str, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(honest["kernel"], tmp_path / "artifact")
    for name in ("model.onnx", "model.onnx.data"):
        shutil.copyfile(honest["dense"] / name, copy / name)
    operators = read_artifact(copy).manifest.operators
    rewrite(copy, operators=dataclasses.replace(operators, versions={"MatMul": 1}))
    # Neither the library nor this tool has such an operator.
    assert "needs operator MatMul of version 1" in reasons(bd.verify(copy), "unjudged")
    manifest = read_artifact(copy).manifest
    executed = dict.fromkeys(("block.0", "block.1"), "MatMul")
    assert len(misplaced_layers(manifest, executed)) == 2


def test_a_layer_named_twice_is_a_failure(copy: Path) -> None:
    manifest = read_artifact(copy).manifest
    plan = dataclasses.replace(manifest.plan, layers=(*manifest.plan.layers, manifest.plan.layers[0]))
    rewrite(copy, plan=plan, layers=(*manifest.layers, manifest.layers[1]))
    text = reasons(bd.verify(copy))
    assert "layer block.0 has more than one form in the plan" in text
    assert "layer block.1 stands in the manifest more than once" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "elsewhere"}, "the plan is for target cpu-native, the artifact for elsewhere"),
        ({"backend": "none"}, "none"),
    ],
)
def test_an_edited_target_is_a_failure(copy: Path, changes: dict[str, str], message: str) -> None:
    target = msgspec.structs.replace(read_artifact(copy).manifest.target, **changes)
    rewrite(copy, target=target)
    assert message in reasons(bd.verify(copy))


def test_an_edited_size_is_a_failure(copy: Path) -> None:
    rewrite(copy, deployed_bytes=1)
    assert "bytes, the manifest says 1" in reasons(bd.verify(copy))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float16"}, "layer block.0: what entered it is float32, the manifest says float16"),
        ({"out_features": 95}, "layer block.0: what left it has shape (2, 5, 96), it must be (2, 5, 95)"),
        ({"in_features": 97}, "layer block.0: what entered it has shape (2, 5, 96), its width must be 97"),
        ({"operator": "GblrLinear"}, "layer block.0: its truth cannot be computed"),
    ],
)
def test_an_edited_layer_is_a_failure(copy: Path, changes: dict[str, Any], message: str) -> None:
    first, second = read_artifact(copy).manifest.layers
    rewrite(copy, layers=(dataclasses.replace(first, **changes), second))
    assert message in reasons(bd.verify(copy, layers=True))
