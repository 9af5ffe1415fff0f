from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from blast_deploy.errors import DiskFullError, InvalidInputError, OutputExistsError
from blast_deploy.staging import check_writable, staged_folder, write_whole

MARKER = "manifest.json"


def own_files(folder: Path) -> set[str] | None:
    return {MARKER, "reference/samples.npz"} if (folder / MARKER).is_file() else None


def fill(folder: Path, text: str) -> None:
    (folder / MARKER).write_text(text)


def fill_and_raise(output: Path, kind: type[BaseException]) -> None:
    with staged_folder(output, own_files=own_files, force=True) as folder:
        fill(folder, "new")
        raise kind


def test_the_folder_is_there_whole_at_the_end_and_not_before(tmp_path: Path) -> None:
    output = tmp_path / "new" / "artifact"
    with staged_folder(output, own_files=own_files, force=False) as folder:
        fill(folder, "1")
        assert not output.exists()
        assert folder.parent == output.parent
    assert (output / MARKER).read_text() == "1"
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_interrupted_block_leaves_nothing(tmp_path: Path, kind: type[BaseException]) -> None:
    output = tmp_path / "artifact"
    with pytest.raises(kind):
        fill_and_raise(output, kind)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_replacement_leaves_what_was_there(tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    output.mkdir()
    fill(output, "old")
    with pytest.raises(KeyboardInterrupt):
        fill_and_raise(output, KeyboardInterrupt)
    assert (output / MARKER).read_text() == "old"
    assert list(tmp_path.iterdir()) == [output]


def test_an_existing_output_is_refused_without_force(tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    output.mkdir()
    with pytest.raises(OutputExistsError, match="exists; choose another output or use force"):
        staged_folder(output, own_files=own_files, force=False).__enter__()


def test_force_replaces_what_this_tool_made(tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    (output / "reference").mkdir(parents=True)
    fill(output, "old")
    (output / "reference" / "samples.npz").write_text("")
    with staged_folder(output, own_files=own_files, force=True) as folder:
        fill(folder, "new")
    assert [path.name for path in output.iterdir()] == [MARKER]
    assert (output / MARKER).read_text() == "new"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("name", ["thesis.tex", ".hidden", "reference/notes.txt", "other/manifest.json"])
def test_force_does_not_replace_a_folder_that_holds_more(tmp_path: Path, name: str) -> None:
    output = tmp_path / "artifact"
    stranger = output / name
    stranger.parent.mkdir(parents=True)
    fill(output, "old")
    stranger.write_text("mine")
    with pytest.raises(OutputExistsError, match=f"holds {name}, so it was not made here"):
        staged_folder(output, own_files=own_files, force=True).__enter__()
    assert stranger.read_text() == "mine"


def test_an_output_that_another_run_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    output = tmp_path / "artifact"

    def run() -> None:
        with staged_folder(output, own_files=own_files, force=False) as folder:
            fill(folder, "mine")
            output.mkdir()
            fill(output, "theirs")

    with pytest.raises(OutputExistsError, match="exists"):
        run()
    assert (output / MARKER).read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [output]


def test_a_path_through_a_missing_folder_is_the_place_it_means(tmp_path: Path) -> None:
    roundabout = tmp_path / "missing" / ".." / "artifact"
    with staged_folder(roundabout, own_files=own_files, force=False) as folder:
        fill(folder, "1")
    assert list(tmp_path.iterdir()) == [tmp_path / "artifact"]
    with pytest.raises(OutputExistsError, match="use force"):
        staged_folder(roundabout, own_files=own_files, force=False).__enter__()


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: x (os error 28)")],
)
def test_a_full_disk_is_told_in_one_sentence(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(DiskFullError, match=r"the disk is full, so .*artifact could not be written; free"),
        staged_folder(tmp_path / "artifact", own_files=own_files, force=False),
    ):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    check_writable(file)
    assert list(tmp_path.iterdir()) == []
    write_whole(file, b"1")
    write_whole(file, b"2")
    assert file.read_bytes() == b"2"
    assert list(tmp_path.iterdir()) == [file]
    for write in (check_writable, lambda path: write_whole(path, b"")):
        with pytest.raises(InvalidInputError, match="nothing can be written beside"):
            write(file / "x")


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_force_replaces_nothing_else(tmp_path: Path, kind: str) -> None:
    output, precious = tmp_path / "precious", tmp_path / "elsewhere"
    precious.mkdir()
    fill(precious, "mine")
    if kind == "folder":
        output.mkdir()
        (output / "thesis.tex").write_text("mine")
    elif kind == "file":
        output.write_text("mine")
    else:
        output.symlink_to(precious)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputExistsError, match="was not made here"):
        staged_folder(output, own_files=own_files, force=True).__enter__()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="nothing can be written beside"):
        staged_folder(tmp_path / "file" / "artifact", own_files=own_files, force=False).__enter__()


def test_a_killed_process_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    code = (
        "import sys, time; from pathlib import Path; from blast_deploy.staging import staged_folder\n"
        f"with staged_folder(Path({str(output)!r}), own_files=lambda _: None, force=False) as folder:\n"
        f"    (folder / {MARKER!r}).write_text('half'); print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not output.exists()
    assert all(
        path.name.startswith(".artifact.") and path.suffix == ".partial" for path in tmp_path.iterdir()
    )
