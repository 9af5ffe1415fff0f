"""ONNX Runtime before 1.19 beside NumPy 2, which pip lets happen: refused with what mends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from portable_models import random_layers, write_portable

import blast_deploy as bd
from blast_deploy.errors import UnsupportedMachineError

REMEDY = "releases before 1.19 need: pip install 'numpy<2'"


@pytest.fixture
def artifact(others: Path) -> Path:
    return min(others.iterdir()) / "kernel-float32"


def test_opening_and_compiling_are_refused(artifact: Path, tmp_path: Path) -> None:
    portable = write_portable(tmp_path, random_layers())
    for attempt in (
        lambda: bd.open(artifact),
        lambda: bd.compile(portable, "cpu-stock", tmp_path / "compiled"),
        lambda: bd.benchmark(artifact),
    ):
        with pytest.raises(UnsupportedMachineError, match="onnxruntime cannot be imported") as caught:
            attempt()
        assert str(caught.value).endswith(REMEDY)
        assert "\n" not in str(caught.value)


def test_verify_cannot_judge(artifact: Path) -> None:
    result = bd.verify(artifact, layers=True)
    assert result.verdict == "unjudged"
    assert result.reasons[0].endswith(REMEDY)


def test_targets_and_doctor_say_why() -> None:
    assert all(status.reason.endswith(REMEDY) and not status.runs_here for status in bd.list_targets())
    diagnosis = bd.diagnose()
    assert not diagnosis.healthy
    (found,) = (each for each in diagnosis.findings if each.subject == "operator library in onnxruntime")
    assert not found.present
    assert found.remedy
