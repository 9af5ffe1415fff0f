from __future__ import annotations

from pathlib import Path

import pytest

from blast_deploy.checkpoints.staging import staged_folder
from blast_deploy.errors import OutputExistsError


def test_folder_appears_only_at_the_end(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "output"
    with staged_folder(output) as staging:
        (staging / "file").write_text("whole")
        assert not output.exists()
    assert (output / "file").read_text() == "whole"
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    output = tmp_path / "output"

    def write_half() -> None:
        with staged_folder(output) as staging:
            (staging / "file").write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "old").touch()
    with pytest.raises(OutputExistsError, match="exists already"), staged_folder(tmp_path / "output"):
        pytest.fail("the block must not run")
    assert [file.name for file in (tmp_path / "output").iterdir()] == ["old"]


def test_force_replaces_a_folder_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    (tmp_path / "file").write_text("old")
    for name in ("folder", "file"):
        with staged_folder(tmp_path / name, force=True) as staging:
            (staging / "new").touch()
        assert [file.name for file in (tmp_path / name).iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_failure_under_force_keeps_the_old_output(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "old").touch()
    with pytest.raises(ValueError, match="half"), staged_folder(tmp_path / "output", force=True):
        raise ValueError("half")
    assert (tmp_path / "output" / "old").exists()


def test_leftovers_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    leftover = tmp_path / ".output.partial"
    leftover.mkdir()
    (leftover / "half").touch()
    with staged_folder(tmp_path / "output") as staging:
        (staging / "new").touch()
    assert [file.name for file in (tmp_path / "output").iterdir()] == ["new"]
    assert not leftover.exists()
