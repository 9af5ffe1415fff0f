"""Every stage that writes, as a real command on tiny inputs, and what its output is when it is whole."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from portable_models import random_layers, write_portable

import blast_deploy as bd
from blast_deploy import reference
from blast_deploy.artifact import hash_faults, open_artifact
from blast_deploy.model_paths import reference_path
from blast_deploy.portable import read_portable
from blast_deploy.results import to_json

ROOT = Path(bd.__file__).parents[1]


@dataclass(frozen=True)
class Stage:
    """A command.

    Attributes:
        output: Name of what it writes.
        arguments: From the folder of inputs and the output's path to the command's arguments.
        check: Raises unless the output is whole.
        several: Whether it is several files, which no system can replace in one step.
    """

    output: str
    arguments: Callable[[Path, Path], Sequence[object]]
    check: Callable[[Path], object]
    several: bool = False


def make_inputs(folder: Path, dense: Path) -> Path:
    """Make what the stages read, from a dense model folder; returns ``folder``."""
    shutil.copytree(dense, folder / "dense")
    layers = "encoder.layer.0.*"
    bd.compress(folder / "dense", folder / "structured", layers=layers, keep=0.5)
    bd.compile(write_portable(folder, random_layers(), dense=True), "cpu-native", folder / "artifact")
    (folder / "verify.json").write_bytes(to_json(bd.verify(folder / "artifact")))
    return folder


def command(script: str = "from blast_deploy.cli import main; main()") -> list[str]:
    """The command line, as installed."""
    return [sys.executable, "-c", script]


def _check_model(path: Path) -> None:
    model = read_portable(path)
    assert reference.load(reference_path(path), model.sha256).samples


def _check_artifact(path: Path) -> None:
    assert hash_faults(open_artifact(path)) == ()


def _json(path: Path) -> None:
    assert json.loads(path.read_text())


def _check_page(path: Path) -> None:
    assert path.read_text().rstrip().endswith("</html>")


STAGES = {
    "compile": Stage(
        "artifact",
        lambda inputs, out: ("compile", inputs / "model.onnx", "--target", "cpu-native", "-o", out),
        _check_artifact,
    ),
    "verify": Stage("v.json", lambda inputs, out: ("verify", inputs / "artifact", "--json", out), _json),
    "bench": Stage(
        "b.json",
        lambda inputs, out: ("bench", inputs / "artifact", "--rounds", 10, "--json", out),
        _json,
    ),
    "quantize": Stage(
        "quantised.onnx",
        lambda inputs, out: ("quantize", inputs / "model.onnx", "-o", out, "--max-error", 0.5),
        _check_model,
        several=True,
    ),
    "report": Stage(
        "page.html", lambda inputs, out: ("report", inputs / "verify.json", "-o", out), _check_page
    ),
    "compress": Stage(
        "small",
        lambda inputs, out: ("compress", inputs / "dense", "-o", out, "--layers", "encoder.layer.0.*"),
        bd.load,
    ),
    "export": Stage(
        "model.onnx",
        lambda inputs, out: ("export", inputs / "structured", "-o", out),
        _check_model,
        several=True,
    ),
}
