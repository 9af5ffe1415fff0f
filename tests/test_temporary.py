"""Hidden siblings: those of dead processes are cleared away, those of living ones are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from blast_deploy.exchange import exchange
from blast_deploy.locks import lock
from blast_deploy.temporary import temporary_sibling

OWNER = """
import sys, time
from pathlib import Path
from blast_deploy.temporary import temporary_sibling
with temporary_sibling(Path(sys.argv[1]), folder=sys.argv[2] == "folder") as path:
    print(path, flush=True)
    time.sleep(60)
"""


def start(place: Path, kind: str) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(place), kind], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_a_living_process_owns_stays_until_it_is_killed(tmp_path: Path, kind: str) -> None:
    owner, theirs = start(tmp_path / "out", kind)
    try:
        with temporary_sibling(tmp_path / "out", folder=kind == "folder") as ours:
            assert theirs.exists()
            assert ours != theirs
    finally:
        kill(owner)
    assert theirs.exists()
    with temporary_sibling(tmp_path / "out", folder=kind == "folder") as ours:
        assert list(tmp_path.iterdir()) == [ours]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", [".other.0123abcd.partial", ".out.notes.partial", ".out.0123abcd.partial.replaced"]
)
def test_nothing_else_is_cleared_away(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with temporary_sibling(tmp_path / "out", folder=True):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / ".out.0123abcd.partial").symlink_to(precious)
    with temporary_sibling(tmp_path / "out", folder=True):
        pass
    assert precious.is_dir()


def test_a_lock_is_had_once(tmp_path: Path) -> None:
    first = lock(tmp_path)
    assert first is not None
    assert lock(tmp_path) is None
    os.close(first)
    again = lock(tmp_path)
    assert again is not None
    os.close(again)


def test_two_folders_change_places(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "b").exists()
    assert (tmp_path / "b" / "a").exists()
    assert not exchange(tmp_path / "a", tmp_path / "missing")
    assert (tmp_path / "a" / "b").exists()
