"""Below ONNX Runtime 1.18: refused in one clear sentence wherever a user would meet it."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest
from portable_models import random_layers, write_portable
from typer.testing import CliRunner

import blast_deploy as bd
from blast_deploy import cli
from blast_deploy.errors import UnsupportedMachineError

FOUND = onnxruntime.__version__
NEEDED = f"onnxruntime 1.18 or newer is needed (found {FOUND}); run: pip install --upgrade onnxruntime"
FORMS = ("kernel-float32", "body-float32", "dense-float32")


@pytest.fixture(params=FORMS)
def artifact(request: pytest.FixtureRequest, others: Path) -> Path:
    return sorted(others.iterdir())[-1] / str(request.param)


def test_this_runtime_is_too_old() -> None:
    assert FOUND.startswith("1.17.")


def test_opening_is_refused(artifact: Path) -> None:
    with pytest.raises(UnsupportedMachineError) as caught:
        bd.open(artifact)
    assert str(caught.value) == f"{artifact} needs onnxruntime 1.18 or newer (found {FOUND}); upgrade it"


def test_verify_cannot_judge(artifact: Path, tmp_path: Path) -> None:
    report = tmp_path / "verdict.json"
    result = CliRunner().invoke(cli.app, ["verify", str(artifact), "--layers", "--json", str(report)])
    assert result.exit_code == 3, result.output
    assert "could not be judged" in result.output.lower() or "unjudged" in result.output.lower()
    verdict = json.loads(report.read_text())
    assert verdict["verdict"] == "unjudged"
    assert verdict["reasons"] == [f"{artifact} needs onnxruntime 1.18 or newer (found {FOUND}); upgrade it"]


def test_nothing_is_compiled_or_timed(artifact: Path, others: Path, tmp_path: Path) -> None:
    portable = write_portable(tmp_path, random_layers())
    for target in ("cpu-native", "cpu-stock"):
        with pytest.raises(UnsupportedMachineError) as caught:
            bd.compile(portable, target, tmp_path / target)
        assert str(caught.value) == f"target {target} cannot be compiled for here: {NEEDED}"
        assert not (tmp_path / target).exists()
    for contender, sentence in ((portable, NEEDED), (artifact, "needs onnxruntime 1.18 or newer")):
        with pytest.raises(UnsupportedMachineError) as caught:
            bd.benchmark(contender)
        assert sentence in str(caught.value)


def test_targets_say_why() -> None:
    for status in bd.list_targets():
        assert not status.runs_here
        assert not status.compiles_here
        assert status.reason == NEEDED


def test_doctor_names_the_runtime_and_the_remedy() -> None:
    diagnosis = bd.diagnose()
    assert not diagnosis.healthy
    missing = {each.subject: each for each in diagnosis.findings if each.needed and not each.present}
    assert sorted(missing) == ["onnxruntime", "operator library in onnxruntime"]
    assert missing["onnxruntime"].detail == f"{FOUND} is outside the supported range <2,>=1.18"
    assert missing["onnxruntime"].remedy == "pip install 'onnxruntime<2,>=1.18'"
    assert f"needs onnxruntime 1.18 or newer, and this is onnxruntime {FOUND}" in (
        missing["operator library in onnxruntime"].detail
    )


def test_registering_by_hand_is_refused_and_the_process_lives_on() -> None:
    options = onnxruntime.SessionOptions()
    sentence = f"the operator library needs onnxruntime 1.18 or newer, and this is onnxruntime {FOUND}"
    for _ in range(3):
        with pytest.raises(Exception, match=sentence):
            options.register_custom_ops_library(str(bd.library_path()))


def test_what_needs_no_runtime_works(artifact: Path) -> None:
    result = CliRunner().invoke(cli.app, ["inspect", str(artifact)])
    assert result.exit_code == 0, result.output
    assert "block.0" in result.output
