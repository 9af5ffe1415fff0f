"""The command line on small real inputs: tables, JSON, exit codes, one sentence when something is wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gblr_models
import pytest
from portable_models import forcing, random_layers, write_portable
from typer.testing import CliRunner

import blast_deploy as bd
from blast_deploy import cli, reference
from blast_deploy.artifact import encode, read_artifact, store
from blast_deploy.console.group import INTERNAL, INTERRUPTED, TERMINATED, UNREAD, USAGE
from blast_deploy.errors import BlastDeployError
from blast_deploy.reference import Reference

VERBS = (
    "compress",
    "export",
    "quantize",
    "compile",
    "verify",
    "bench",
    "report",
    "inspect",
    "targets",
    "doctor",
    "demo",
)


class Finished:
    """What a command wrote and how it ended."""

    def __init__(self, *arguments: object) -> None:
        result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
        self.code = result.exit_code
        self.out = result.stdout
        self.err = result.stderr

    @property
    def sentence(self) -> str:
        """The one line on standard error, of a command that was refused."""
        assert self.code == USAGE, (self.out, self.err)
        # An editable install is rebuilt when imported, and ninja may say that another process was at it too.
        (line,) = [each for each in self.err.splitlines() if not each.startswith("ninja: ")]
        assert line.startswith("error: ")
        return line


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_portable(tmp_path_factory.mktemp("portable"), random_layers(), dense=True)


@pytest.fixture(scope="module")
def artifact(portable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifacts") / "chain"
    finished = Finished("compile", portable, "--target", "cpu-native", "-o", path)
    assert finished.code == 0, finished.err
    return path


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    """A folder in which a refused command may leave nothing behind."""
    folder = tmp_path / "empty"
    folder.mkdir()
    yield folder
    assert sorted(folder.rglob("*")) == []


def damaged_copy(path: Path, target: Path) -> Path:
    """Write the first half of a file."""
    content = path.read_bytes()
    target.write_bytes(content[: len(content) // 2])
    return target


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_and_json(verb: str) -> None:
    finished = Finished(verb, "--help")
    assert finished.code == 0
    assert f"Example: blast-deploy {verb}" in " ".join(finished.out.split())
    assert "--json" in finished.out
    assert "--force" in finished.out


def test_help_names_every_verb_and_is_shown_without_arguments() -> None:
    helped = Finished("--help")
    assert all(f"\n  {verb} " in helped.out for verb in VERBS)
    assert Finished().out == helped.out
    assert Finished("--version").out.startswith("blast-deploy 0.")


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'onnx', 'onnxruntime', 'numpy', 'rich', 'matplotlib', 'transformers'}"
    code = f"import sys, blast_deploy.cli; print(*sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "\n", "")


def test_compile_prints_the_plan_and_writes_json(portable: Path, tmp_path: Path) -> None:
    result = tmp_path / "compile.json"
    finished = Finished(
        "compile",
        portable,
        "--target",
        "cpu-stock",
        "-o",
        tmp_path / "a",
        "--json",
        result,
        "--shape",
        "batch=1",
    )
    assert finished.code == 0
    assert "block.0" in finished.out
    assert json.loads(result.read_text())["target"] == "cpu-stock"
    assert (tmp_path / "a" / "manifest.json").is_file()


def test_quantize_prints_every_layers_error_and_writes_json(portable: Path, tmp_path: Path) -> None:
    result, output = tmp_path / "quantize.json", tmp_path / "small.onnx"
    finished = Finished("quantize", portable, "-o", output, "--max-error", 0.5, "--json", result)
    assert finished.code == 0, finished.err
    assert "block.0" in finished.out
    assert "2 of 2 structured layers quantised (budget 0.5)" in finished.out
    written = json.loads(result.read_text())
    assert [layer["bits"] for layer in written["layers"]] == [8, 8]
    assert all(0 < layer["error"] < 0.05 for layer in written["layers"])
    assert Finished("inspect", output).code == 0
    assert "exists already" in Finished("quantize", portable, "-o", output).sentence


def test_quantize_names_the_layers_that_stay(portable: Path, tmp_path: Path) -> None:
    errors = tmp_path / "errors.json"
    Finished("quantize", portable, "-o", tmp_path / "a.onnx", "--max-error", 0.5, "--json", errors)
    budget = sum(layer["error"] for layer in json.loads(errors.read_text())["layers"]) / 2
    finished = Finished("quantize", portable, "-o", tmp_path / "b.onnx", "--max-error", budget)
    assert "1 of 2 structured layers quantised" in finished.out
    assert "as it was" in finished.out
    assert "is over the budget" in finished.out


def test_verify_passes(artifact: Path, tmp_path: Path) -> None:
    result = tmp_path / "verify.json"
    finished = Finished("verify", artifact, "--layers", "--threads", 1, "--json", result)
    assert finished.code == 0, finished.out
    assert "block.1" in finished.out
    assert finished.out.rstrip().endswith("passed")
    written = json.loads(result.read_text())
    assert written["verdict"] == "passed"
    assert written["reasons"] == []
    for compared in (*written["outputs"], *written["layers"]):
        assert "below the bound, over" in compared["reason"]
    for line in written["summary"]:
        assert line in finished.out
    assert (
        "2 of 2 layers within the bounds against float64, on the rows that really entered them"
        in finished.out
    )


def test_verify_fails_with_1_and_still_writes_json(portable: Path, tmp_path: Path) -> None:
    broken, result = tmp_path / "broken", tmp_path / "verify.json"
    assert Finished("compile", portable, "--target", "cpu-stock", "-o", broken).code == 0
    model = broken / json.loads((broken / "manifest.json").read_text())["files"][0]["path"]
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    finished = Finished("verify", broken, "--json", result)
    assert finished.code == cli.FAILED
    assert "sha256 differs" in finished.out
    assert json.loads(result.read_text())["verdict"] == "failed"


def test_what_cannot_be_judged_exits_with_3(
    artifact: Path, portable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, result = tmp_path / "copy", tmp_path / "verify.json"
    shutil.copytree(artifact, copy)
    held = reference.load(copy / "reference/samples.npz")
    reference.save(Reference(held.model_sha256, ()), copy / "reference/samples.npz")
    manifest = read_artifact(copy).manifest
    files = store(copy, {file.path: file.role for file in manifest.files})
    (copy / "manifest.json").write_bytes(encode(dataclasses.replace(manifest, files=files, samples=0)))
    finished = Finished("verify", copy, "--json", result)
    assert finished.code == cli.UNJUDGED
    assert "- the artifact holds no reference samples" in finished.out
    assert finished.out.rstrip().endswith("unjudged")
    assert json.loads(result.read_text())["verdict"] == "unjudged"

    packed = tmp_path / "packed"
    bd.compile(portable, forcing("kernel"), packed)
    monkeypatch.setattr("blast_deploy.native.Library.instruction_sets", lambda self: ("z80",))
    finished = Finished("verify", packed)
    assert finished.code == cli.UNJUDGED
    assert "this machine lacks" in finished.out


@pytest.mark.extras
def test_bench_against_the_portable_file_and_report(artifact: Path, portable: Path, tmp_path: Path) -> None:
    timed, page = tmp_path / "bench.json", tmp_path / "report.html"
    shape = ("--shape", "batch=1,sequence=4", "--shape", "batch=2,sequence=3")
    finished = Finished("bench", artifact, "--against", portable, *shape, "--rounds", 10, "--json", timed)
    assert finished.code == 0, finished.err
    assert "1 thread, thread CPU time" in finished.out
    written = json.loads(timed.read_text())
    assert [item["name"] for item in written["contenders"]] == ["chain", "model.onnx"] * 2
    assert len(written["ratios"]) == 2
    reported = Finished("report", timed, artifact, "-o", page)
    assert reported.code == 0, reported.err
    assert "<svg" in page.read_text()


def test_inspect_shows_layers(artifact: Path, portable: Path) -> None:
    for path in (artifact, portable):
        finished = Finished("inspect", path)
        assert finished.code == 0
        assert "block.1" in finished.out


def test_inspect_draws_intervals_or_says_why_not(portable: Path, empty: Path) -> None:
    sentence = Finished("inspect", portable, "--plot", empty / "plot.svg").sentence
    assert "has no GBLR layer" in sentence
    both = Finished("inspect", portable, "--plot", empty / "a.svg", "--json", empty / "a.svg")
    assert "would overwrite" in both.sentence


def test_inspect_draws_intervals(tmp_path: Path) -> None:
    model, plot, result = gblr_models.chain().write(tmp_path), tmp_path / "plot.svg", tmp_path / "i.json"
    finished = Finished("inspect", model, "--plot", plot, "--json", result)
    assert finished.code == 0, finished.err
    assert "23 × 37, 9 components" in plot.read_text()
    assert len(json.loads(result.read_text())["layers"][0]["intervals"]["u_start"]) == 6
    assert "exists" in Finished("inspect", model, "--plot", plot).sentence


def test_targets_and_doctor(tmp_path: Path) -> None:
    assert "cpu-stock" in Finished("targets", "--json", tmp_path / "t.json").out
    assert {"cpu-native", "cpu-stock"} <= {
        target["name"] for target in json.loads((tmp_path / "t.json").read_text())
    }
    finished = Finished("doctor", "--json", tmp_path / "d.json")
    healthy = json.loads((tmp_path / "d.json").read_text())["healthy"]
    assert finished.code == (0 if healthy else cli.FAILED)


def test_an_unknown_target(portable: Path, empty: Path) -> None:
    finished = Finished("compile", portable, "--target", "abacus", "-o", empty / "a")
    assert "there is no target 'abacus'" in finished.sentence
    assert "cpu-native" in finished.sentence


def test_half_a_model(portable: Path, empty: Path, tmp_path: Path) -> None:
    half = damaged_copy(portable, tmp_path / "half.onnx")
    finished = Finished("compile", half, "--target", "cpu-stock", "-o", empty / "a", "--json", empty / "j")
    assert "half.onnx" in finished.sentence


@pytest.mark.extras
def test_a_model_that_is_not_there(empty: Path) -> None:
    path = empty / "nothing.onnx"
    assert str(path) in Finished("compile", path, "--target", "cpu-stock", "-o", empty / "a").sentence
    assert str(path) in Finished("inspect", path).sentence
    assert str(path) in Finished("bench", path).sentence
    assert str(path) in Finished("verify", path).sentence
    assert str(path) in Finished("report", path, "-o", empty / "r.html").sentence
    assert str(path) in Finished("export", path, "-o", empty / "m.onnx").sentence
    assert str(path) in Finished("compress", path, "-o", empty / "c").sentence


def test_outputs_that_exist_are_kept(portable: Path, artifact: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    compiled = ("compile", portable, "--target", "cpu-stock", "-o")
    assert "exists" in Finished(*compiled, artifact).sentence
    assert "exists" in Finished(*compiled, tmp_path / "new", "--json", taken).sentence
    assert "exists" in Finished("report", artifact, "-o", taken).sentence
    assert taken.read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == [taken]


def test_json_into_a_folder_that_is_not_there(artifact: Path, empty: Path) -> None:
    assert "does not exist" in Finished("inspect", artifact, "--json", empty / "no" / "r.json").sentence
    assert "is a folder" in Finished("inspect", artifact, "--json", empty).sentence


def test_usage_errors_are_one_sentence() -> None:
    assert Finished("compile").sentence == (
        "error: Missing argument 'MODEL.onnx'; see blast-deploy compile --help"
    )
    unknown = Finished("targets", "--colour").sentence
    assert "No such option" in unknown
    assert "--colour" in unknown
    assert "No such command 'fly'" in Finished("fly").sentence
    assert "'--threads'" in Finished("verify", "x", "--threads", "many").sentence


def test_threads_below_one(artifact: Path) -> None:
    assert "'--threads'" in Finished("verify", artifact, "--threads", 0).sentence
    assert "'--threads'" in Finished("bench", artifact, "--threads", 0).sentence


def test_precision_that_is_not_offered(portable: Path, empty: Path) -> None:
    finished = Finished("compile", portable, "--target", "cpu-stock", "-o", empty / "a", "--precision", "fp7")
    assert "fp7" in finished.sentence


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BlastDeployError("it is too blue"), USAGE, "error: it is too blue"),
        (PermissionError(13, "Permission denied", "x"), USAGE, "error: [Errno 13] Permission denied: 'x'"),
        (ValueError("our\nfault"), INTERNAL, "internal error: ValueError: our fault; --debug shows where"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
    ],
)
def test_what_goes_wrong_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    import blast_deploy as bd

    def fails() -> None:
        raise error

    monkeypatch.setattr(bd, "list_targets", fails, raising=False)
    finished = Finished("targets")
    assert (finished.code, finished.err.strip()) == (code, line)
    debugged = Finished("targets", "--debug")
    assert debugged.code == code
    assert ("Traceback" in debugged.err) == (code != INTERRUPTED)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", INTERRUPTED), ("SIGTERM", TERMINATED)])
def test_a_signal_to_a_real_process_leaves_nothing(
    name: str, code: int, portable: Path, tmp_path: Path
) -> None:
    """Ctrl-C or an order to end in the middle of compiling: one line, 128 + the signal, no folder."""
    script = (
        "import os, signal, sys\n"
        "from blast_deploy import cli, compiler\n"
        f"compiler._write = lambda *_: os.kill(os.getpid(), signal.{name})\n"
        "cli.main()\n"
    )
    arguments = ["compile", str(portable), "--target", "cpu-stock", "-o", str(tmp_path / "a")]
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == code, run.stderr
    assert run.stderr.strip().splitlines()[-1] == "interrupted"
    assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away_is_no_failed_verdict(artifact: Path) -> None:
    command = f"{sys.executable} -c 'from blast_deploy.cli import main; main()' inspect {artifact} | true"
    run = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (UNREAD, "")


def test_compress_and_export(tiny_bert_folder: Path, tiny_text: Path, tmp_path: Path) -> None:
    small, model = tmp_path / "small", tmp_path / "small.onnx"
    calibrated = ("--calibration", tiny_text, "--keep", 0.6, "--blocks", "2x3", "--json", tmp_path / "c.json")
    finished = Finished("compress", tiny_bert_folder, "-o", small, *calibrated)
    assert finished.code == 0, finished.err
    written = json.loads((tmp_path / "c.json").read_text())
    assert written["method"] == "activation"
    assert {tuple(layer["blocks"]) for layer in written["layers"]} == {(2, 3)}
    assert "12 layers keep" in finished.out
    exported = Finished("export", small, "-o", model, "--json", tmp_path / "e.json")
    assert exported.code == 0, exported.err
    assert len(json.loads((tmp_path / "e.json").read_text())["structured_layers"]) == 12
    assert "exists" in Finished("export", small, "-o", model).sentence
    assert "exists" in Finished("compress", tiny_bert_folder, "-o", small).sentence
    dense = Finished("export", small, "-o", model, "--dense", "--force")
    assert dense.code == 0, dense.err
    assert "0 structured layers" in dense.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--keep", "0"), "got 0"),
        (("--keep", "1.5"), "got 1.5"),
        (("--keep", "nan"), "got nan"),
        (("--keep", "0.001"), "rank"),
        (("--layers", "decoder.*"), "decoder.*"),
        (("--blocks", "0"), "positive"),
        (("--blocks", "2x2x2"), "2x2x2"),
        (("--structure", "wavelet"), "wavelet"),
        (("--method", "magic"), "magic"),
        (("--method", "activation"), "calibration"),
        (("--calibration", "/nowhere.txt"), "/nowhere.txt"),
    ],
)
def test_what_compress_refuses(
    tiny_bert_folder: Path, empty: Path, options: tuple[str, str], words: str
) -> None:
    assert words in Finished("compress", tiny_bert_folder, "-o", empty / "c", *options).sentence


def test_half_a_checkpoint(tiny_bert_folder: Path, empty: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_bert_folder, copy)
    damaged_copy(tiny_bert_folder / "model.safetensors", copy / "model.safetensors")
    assert str(copy) in Finished("compress", copy, "-o", empty / "c").sentence
    assert str(copy) in Finished("export", copy, "-o", empty / "m.onnx").sentence
    assert str(copy) in Finished("inspect", copy).sentence
