"""A model past protobuf's 2 GiB goes the whole way in little more memory than it has weights.

What is bounded is the most anonymous memory that a stage's process has at any time, above what it has after
the same stage on a small model (its imports): anonymous memory is what a machine can run out of. Pages of a
mapped file are not counted, because the system drops them when it needs room. Compile and verify keep to the
same bound with those pages counted too; export cannot, since the caller's module is in memory (1.0 of the
1.5) while the runtime maps the written file to check it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import large_model_stage
import pytest

from blast_deploy.model_paths import data_path

WIDTH = 8192
MOST = 1.5
_SCRIPT = Path(large_model_stage.__file__)


@dataclass(frozen=True)
class StageRun:
    """What a stage said, and the most memory that it took above its imports, in bytes.

    Attributes:
        result: What it printed.
        private: Anonymous and shared memory, sampled every 5 ms.
        resident: The same and the mapped files' pages, by the kernel's own mark.
    """

    result: dict[str, Any]
    private: int
    resident: int


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that is emptied at once: pytest would keep the gigabytes of three runs."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's anonymous memory")
def test_a_three_gibibyte_model_goes_the_whole_way(folder: Path) -> None:
    exported = run_stage("export", folder)
    size = exported.result["parameter_bytes"]
    assert size > 3 << 30
    assert data_path(folder / "model.onnx").stat().st_size >= size
    compiled = run_stage("compile", folder)
    assert set(compiled.result["forms"].values()) == {"kernel", "dense"}
    verified = run_stage("verify", folder)
    assert verified.result == {"verdict": "passed", "reasons": [], "layers": 8}
    private = {"export": exported.private, "compile": compiled.private, "verify": verified.private}
    assert {stage: peak / size for stage, peak in private.items() if peak > MOST * size} == {}
    resident = {"compile": compiled.resident, "verify": verified.resident}
    assert {stage: peak / size for stage, peak in resident.items() if peak > MOST * size} == {}


def run_stage(stage: str, folder: Path, width: int = WIDTH) -> StageRun:
    """Run a stage in a process of its own and watch its memory."""
    command = [sys.executable, str(_SCRIPT), stage, str(folder), str(width)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        before = read_memory(process.pid)
        answer: list[str] = []
        waiting = threading.Thread(target=lambda out=process.stdout: answer.append(out.readline()))
        waiting.start()
        print(file=process.stdin, flush=True)
        private = 0
        while waiting.is_alive():
            private = max(
                private, sum(read_memory(process.pid).get(name, 0) for name in ("RssAnon", "RssShmem"))
            )
            time.sleep(0.005)
        assert answer[0], f"{stage} ended early"
        resident = read_memory(process.pid)["VmHWM"]
        print(file=process.stdin, flush=True)
    assert process.returncode == 0
    private -= before["RssAnon"] + before["RssShmem"]
    return StageRun(json.loads(answer[0]), private, resident - before["VmRSS"])


def read_memory(pid: int) -> dict[str, int]:
    """The kernel's account of a process's memory, in bytes; empty when the process has ended."""
    fields = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {each[0].rstrip(":"): int(each[1]) * 1024 for each in fields if len(each) == 3 and each[2] == "kB"}
