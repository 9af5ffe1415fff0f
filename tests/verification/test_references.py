"""What an artifact is judged by: samples that can judge, and references that belong to it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from planting import SQUARE, reasons, rewrite
from portable_models import forcing, inputs, random_layers, write_portable

import blast_deploy as bd
from blast_deploy import reference
from blast_deploy.artifact import read_artifact
from blast_deploy.errors import InvalidInputError
from blast_deploy.reference import Reference
from blast_deploy.tolerance import Deviation, tolerance


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


def test_samples_that_the_header_does_not_count_are_a_failure(copy: Path) -> None:
    path = copy / "reference/samples.npz"
    arrays = reference.read_arrays(path)
    header = json.loads(arrays["header"].tobytes()) | {"samples": 1}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)
    rewrite(copy, samples=1)
    assert "it holds arrays of 2 samples, its header says 1" in reasons(bd.verify(copy))


def test_one_row_alone_judges_nothing(tmp_path: Path) -> None:
    layers = random_layers(SQUARE)
    bd.compile(
        write_portable(tmp_path, layers, [inputs(layers, 1, 1)]), forcing("body"), tmp_path / "artifact"
    )
    assert "layer block.0: only one row enters it" in reasons(bd.verify(tmp_path / "artifact"))


def test_a_reference_of_nan_is_a_failure(copy: Path) -> None:
    replace_outputs(copy, lambda y: np.full_like(y, np.nan))
    assert "output y: the float64 reference itself holds NaN or infinity" in reasons(bd.verify(copy))


def test_a_reference_that_is_no_float64_is_a_failure(copy: Path) -> None:
    replace_outputs(copy, lambda y: y.astype(np.float32))
    assert "output y has a reference that is float32 and no float64" in reasons(bd.verify(copy))


def test_a_loosened_tolerance_is_a_failure(copy: Path) -> None:
    given = read_artifact(copy).manifest.tolerance["y"]
    for changes in ({"rms": 1.0, "max": 1.0}, {"rms": 1e300}, {"max": -1.0}, {"derivation": "mine"}):
        rewrite(copy, tolerance={"y": dataclasses.replace(given, **changes)})
        text = reasons(bd.verify(copy))
        assert "output y has a tolerance in the manifest that was not derived" in text


def test_a_tolerance_that_is_no_number_cannot_be_read(copy: Path) -> None:
    text = (copy / "manifest.json").read_text()
    for number in ("NaN", "Infinity", "1e999", "null", '"wide"'):
        edited = re.sub(r'"rms": [^,]+', f'"rms": {number}', text)
        assert edited != text
        (copy / "manifest.json").write_text(edited)
        with pytest.raises(InvalidInputError, match=r"manifest\.json is damaged"):
            bd.verify(copy)


def test_a_body_so_bad_that_zeros_would_pass_judges_nothing(copy: Path) -> None:
    rewrite(copy, tolerance={"y": tolerance(Deviation(0.3, 0.3), "float32")})
    assert "so wide that zeros would pass" in reasons(bd.verify(copy), "unjudged")


def replace_outputs(copy: Path, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    path = copy / "reference/samples.npz"
    held = reference.load(path)
    changed = tuple(
        dataclasses.replace(sample, outputs={"y": change(np.asarray(sample.outputs["y"]))})
        for sample in held.samples
    )
    reference.save(Reference(held.model_sha256, changed), path)
    rewrite(copy)
