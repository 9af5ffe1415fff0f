"""A stage that is killed or interrupted at any moment: nothing half-made, and a second run succeeds.

The moments are the process's own: whenever Python opens, makes, renames or removes something beside the
output, and the signal comes at the n-th of them.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from stages import ROOT, STAGES, Stage, command, make_inputs

SCRIPT = """
import os, signal, sys
number, moment, place = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
del sys.argv[1:4]
seen = 0
def watch(event, arguments):
    global seen
    if event not in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.listdir"):
        return
    if place in str(arguments[0]):
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), number)
sys.addaudithook(watch)
from blast_deploy.cli import main
try:
    main()
finally:
    print("moments", seen)
"""
FAST = [(name, moment) for name in ("compile", "quantize", "verify", "report") for moment in (2, 5)]
SLOW_MOMENTS = 4
"""Of each stage, spread evenly over all of them."""


@pytest.fixture(scope="module")
def inputs(tiny_bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_inputs(tmp_path_factory.mktemp("inputs"), tiny_bert_folder)


def run(
    stage: Stage, inputs: Path, output: Path, number: int, moment: int, *, force: bool
) -> subprocess.CompletedProcess[str]:
    arguments = [*map(str, stage.arguments(inputs, output)), *(["--force"] if force else [])]
    return subprocess.run(
        [*command(SCRIPT), str(int(number)), str(moment), str(output.parent), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that does not belong to a run that is unfinished."""
    files = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith(".")}


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if ".partial" in path.name]


def judge(name: str, inputs: Path, folder: Path, number: int, moment: int, *, force: bool) -> None:
    stage, output = STAGES[name], folder / STAGES[name].output
    before = contents(folder)
    ended = run(stage, inputs, output, number, moment, force=force)
    if ended.returncode == 0:
        stage.check(output)
        return
    expected = -signal.SIGKILL if number == signal.SIGKILL else 130
    assert ended.returncode == expected, (ended.returncode, ended.stderr)
    # Killed between two files of several, a stage may leave none under the output's name, but no mixture.
    torn = stage.several and number == signal.SIGKILL and not output.exists()
    if contents(folder) != before and not torn:
        stage.check(output)
    if number == signal.SIGINT:
        assert "Traceback" not in ended.stderr, ended.stderr
        assert ended.stderr.strip().splitlines()[-1] == "interrupted"
        assert leftovers(folder) == []
    again = run(stage, inputs, output, signal.SIGKILL, 0, force=True)
    assert again.returncode == 0, again.stderr
    stage.check(output)
    assert leftovers(folder) == []
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize(("name", "moment"), FAST)
def test_a_stopped_stage(
    name: str, moment: int, number: signal.Signals, inputs: Path, tmp_path: Path
) -> None:
    judge(name, inputs, tmp_path, number, moment, force=False)


@pytest.mark.slow
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_stopped_at_many_moments(
    name: str, number: signal.Signals, force: bool, inputs: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    first = run(STAGES[name], inputs, whole / STAGES[name].output, number, 0, force=True)
    assert first.returncode == 0, first.stderr
    replaced = run(STAGES[name], inputs, whole / STAGES[name].output, number, 0, force=True)
    moments = int(replaced.stdout.split("moments")[-1])
    assert moments > 2
    for index in range(SLOW_MOMENTS):
        folder = tmp_path / str(index)
        shutil.copytree(whole, folder) if force else folder.mkdir()
        moment = 1 + index * (moments - 1) // (SLOW_MOMENTS - 1)
        judge(name, inputs, folder, number, moment, force=force)
