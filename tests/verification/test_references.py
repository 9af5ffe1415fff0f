"""What an artifact is judged by: samples that can judge, and references that belong to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from planting import SQUARE, reasons, rewrite
from portable_models import forcing, inputs, random_layers, write_portable

import blast_deploy as bd
from blast_deploy import reference
from blast_deploy.artifact import read_artifact
from blast_deploy.reference import Reference


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
