"""A stage whose disk is full: one sentence, nothing half-made, what stood there stays, and space mends it.

The disk is a tmpfs in a mount namespace of its own, which root and most users may make; where that is not
allowed the tests fail and say so.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from stages import ROOT, STAGES, command, make_inputs

DISK = 8 * 2**20
PAGE = 4096
FAST = ("compile", "quantize", "verify", "report")
LEFT = (0, 1, 4)
"""Pages that are left free."""


@dataclass(frozen=True)
class SmallDisk:
    """A file system of ``DISK`` bytes, at ``inside`` for its own processes and at ``outside`` for us."""

    holder: int
    inside: Path

    @property
    def outside(self) -> Path:
        return Path(f"/proc/{self.holder}/root{self.inside}")

    def run(self, name: str, inputs: Path, *, force: bool = False) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", f"--target={self.holder}", "--user", "--mount", "--preserve-credentials"]
        arguments = STAGES[name].arguments(inputs, self.inside / STAGES[name].output)
        return subprocess.run(
            [*enter, *command(), *map(str, arguments), *(["--force"] if force else [])],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )

    def fill(self, pages_left: int) -> None:
        """Take all space but some pages."""
        filler = self.outside / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(PAGE)):
                    pass
            except OSError:
                pass
            file.truncate(max(0, filler.stat().st_size // PAGE - pages_left) * PAGE)


@pytest.fixture(scope="module")
def inputs(tiny_bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_inputs(tmp_path_factory.mktemp("inputs"), tiny_bert_folder)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    script = f'mount -t tmpfs -o size={DISK} tmpfs "{tmp_path}" && echo ready && exec sleep 3600'
    holder = subprocess.Popen(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert holder.stdout is not None
    try:
        said = holder.stdout.readline()
        assert said == "ready\n", f"no small disk can be mounted here, not even in a namespace: {said}"
        yield SmallDisk(holder.pid, tmp_path)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "filler")
    # Compression keeps what it finished, to go on from there.
    kept = {path.parent for path in folder.glob(".*.layers/*.safetensors")}
    files = (path for path in files if path.parent not in kept)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def judge(disk: SmallDisk, name: str, inputs: Path, pages_left: int, *, force: bool) -> None:
    output = disk.outside / STAGES[name].output
    before = contents(disk.outside)
    disk.fill(pages_left)
    refused = disk.run(name, inputs, force=force)
    assert pages_left or refused.returncode != 0, "a full disk was not noticed"
    if refused.returncode != 0:
        (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
        assert line.startswith("error: the disk is full, so "), refused.stderr
        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr
        assert contents(disk.outside) == before
    else:
        STAGES[name].check(output)
    (disk.outside / "filler").unlink()
    again = disk.run(name, inputs, force=True)
    assert again.returncode == 0, again.stderr
    STAGES[name].check(output)
    assert not [path for path in disk.outside.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", FAST)
def test_a_full_disk(name: str, disk: SmallDisk, inputs: Path) -> None:
    judge(disk, name, inputs, 0, force=False)


@pytest.mark.slow
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", STAGES)
def test_a_disk_that_fills_up(name: str, force: bool, disk: SmallDisk, inputs: Path) -> None:
    for pages_left in LEFT:
        if force and not (disk.outside / STAGES[name].output).exists():
            assert disk.run(name, inputs).returncode == 0
        judge(disk, name, inputs, pages_left, force=force)
        if not force:
            subprocess.run(["find", disk.outside, "-mindepth", "1", "-delete"], check=True)
