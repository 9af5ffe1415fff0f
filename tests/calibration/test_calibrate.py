from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from portable_models import random_layers, write_portable
from typer.testing import CliRunner

import blast_deploy as bd
from blast_deploy import cli
from blast_deploy.bench import peaks
from blast_deploy.calibration import calibrate as calibration
from blast_deploy.calibration import share
from blast_deploy.calibration.blast_case import make_case
from blast_deploy.calibration.calibrate import Effort, calibrate
from blast_deploy.calibration.gblr_case import GblrCase
from blast_deploy.calibration.quantized_case import QuantizedCase
from blast_deploy.calibration.schedule import TILES
from blast_deploy.errors import InvalidInputError, OutputExistsError, UnsupportedMachineError
from blast_deploy.native import Library
from blast_deploy.results import CostName
from blast_deploy.targets import load_target

BLAST_CASES = [make_case(*size, 0.5, rows) for size in ((64, 64, 2), (128, 64, 4)) for rows in (1, 8, 32)]
QUICK = Effort(
    cases=(
        *BLAST_CASES,
        *map(QuantizedCase, BLAST_CASES),
        *(GblrCase(case.out_features, case.in_features, 0.5, case.rows) for case in BLAST_CASES),
    ),
    rounds=2,
    handoffs=5,
)
LOWEST = Library().instruction_sets()[-1]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small buffers, few cases even from the command line, and no objection to a busy machine."""
    monkeypatch.setattr(peaks, "_LARGEST_BUFFER", 1 << 20)
    monkeypatch.setattr(share, "LEAST", 0.0)
    monkeypatch.setattr(calibration, "FULL", QUICK)


def too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "LEAST", 2.0)


def test_what_is_written_is_a_target_that_compiles_and_verifies(tmp_path: Path) -> None:
    path = tmp_path / "this-machine.toml"
    steps: list[int] = []
    result = calibrate(path, instruction_set=LOWEST, progress=lambda done, total, what: steps.append(done))
    target = load_target(path)
    assert result.path == path
    assert target.name == "this-machine"
    assert target.options == {"operator_library": True, "instruction_set": LOWEST}
    assert LOWEST in target.costs.origin
    assert "18 cases" in target.costs.origin
    assert target.costs.memory is not None
    assert target.costs.schedule is not None
    assert target.costs.schedule.largest_tile_rows in TILES
    assert target.peaks is not None
    assert LOWEST in target.peaks.gigaflops
    assert [each.name for each in result.costs] == list(get_args(CostName))
    assert target.costs.quantized_kernel not in (None, target.costs.kernel)
    assert target.costs.gblr_kernel not in (None, target.costs.kernel)
    assert steps[-len(QUICK.cases) :] == list(range(len(QUICK.cases)))
    model = write_portable(tmp_path, random_layers())
    bd.compile(model, path, tmp_path / "artifact")
    assert bd.verify(tmp_path / "artifact", layers=True).verdict == "passed"
    assert [each for each in tmp_path.iterdir() if ".partial" in each.name] == []


def test_a_busy_machine_is_not_judged_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_much(monkeypatch)
    result = calibrate(tmp_path / "m.toml")
    assert result.path is None
    (reason,) = result.reasons
    assert reason.startswith("other work left the measuring thread ")
    assert reason.endswith("is judged from 200%; calibrate again when the machine is quieter")
    assert result.costs == ()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_without_force(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="exists; choose another file or use force"):
        calibrate(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("m.json", r"must be named NAME\.toml"),
        ("My Machine.toml", r"must be named NAME\.toml"),
        (".toml", r"must be named NAME\.toml"),
        ("nowhere/m.toml", "does not exist"),
        ("folder.toml", "is a folder"),
    ],
)
def test_a_file_that_cannot_be_a_target_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InvalidInputError, match=message) as caught:
        calibrate(tmp_path / name, force=True)
    assert "\n" not in str(caught.value)


def test_an_instruction_set_that_is_not_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedMachineError, match=r"'avx10' cannot be measured here; this machine can"):
        calibrate(tmp_path / "m.toml", instruction_set="avx10")


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, result = tmp_path / "m.toml", tmp_path / "r.json"
    arguments = ["doctor", "--calibrate", str(path), "--instruction-set", LOWEST, "--json", str(result)]
    finished = CliRunner().invoke(cli.app, arguments)
    assert finished.exit_code == 0, finished.output
    assert f"--target {path}" in finished.stdout
    assert json.loads(result.read_text())["instruction_set"] == LOWEST
    too_much(monkeypatch)
    assert CliRunner().invoke(cli.app, [*arguments, "--force"]).exit_code == cli.UNJUDGED
    refused = CliRunner().invoke(cli.app, ["doctor", "--instruction-set", LOWEST])
    assert refused.exit_code == 2
    assert "means nothing without --calibrate" in refused.stderr
    inside = CliRunner().invoke(cli.app, ["doctor", "--calibrate", str(path), "--json", str(path), "--force"])
    assert inside.exit_code == 2


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    busy = "from blast_deploy.calibration import share; share.LEAST = 0.0"
    script = f"{busy}; from blast_deploy.cli import main; main()"
    path = tmp_path / "m.toml"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "doctor", "--calibrate", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=4)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == "interrupted"
    assert list(tmp_path.iterdir()) == []
