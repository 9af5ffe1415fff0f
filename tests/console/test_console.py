"""Progress lines, option values and result files."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from blast_deploy.console.files import check_file, write_file
from blast_deploy.console.progress import LINE_SECONDS, LineProgress
from blast_deploy.console.tables import print_table
from blast_deploy.console.values import parse_blocks
from blast_deploy.errors import InvalidInputError, OutputExistsError
from blast_deploy.results import ReportResult


def test_lines_are_written_now_and_then() -> None:
    times = iter([0.0, 1.0, LINE_SECONDS + 1, LINE_SECONDS + 2, 2 * LINE_SECONDS + 1])
    lines: list[str] = []
    progress = LineProgress(lambda: next(times), lines.append)
    for done in range(1, 5):
        progress(done, 9, f"part {done}")
    assert lines == ["2/9 part 2 (11 s)", "4/9 part 4 (21 s)"]


@pytest.mark.parametrize(("text", "blocks"), [("4", 4), ("4x2", (4, 2)), ("3X5", (3, 5)), (" 7 ", 7)])
def test_blocks(text: str, blocks: int | tuple[int, int]) -> None:
    assert parse_blocks(text) == blocks


@pytest.mark.parametrize("text", ["", "x", "4x", "four", "-4", "1x2x3", "4,2", "1.5"])
def test_what_are_no_blocks(text: str) -> None:
    with pytest.raises(InvalidInputError, match="blocks must be"):
        parse_blocks(text)


def test_result_files(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_file(ReportResult(Path("x.html"), 7), path)
    assert json.loads(path.read_text()) == {"path": "x.html", "bytes": 7}
    assert sorted(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputExistsError):
        check_file(path, force=False)
    check_file(path, force=True)
    check_file(None, force=False)
    write_file(ReportResult(Path("x.html"), 7), None)


def test_a_result_file_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.touch", refuse)
    with pytest.raises(InvalidInputError, match=r"beside .*r\.json \(Read-only file system\)"):
        check_file(tmp_path / "r.json", force=False)


def test_a_result_file_is_no_part_of_another_output(tmp_path: Path) -> None:
    page, artifact = tmp_path / "r.html", tmp_path / "artifact"
    artifact.mkdir()
    for path in (tmp_path / "artifact" / ".." / "r.html", artifact / "manifest.json"):
        with pytest.raises(InvalidInputError, match=r"--json .* would overwrite a part of"):
            check_file(path, force=True, others=[page, artifact])
    check_file(tmp_path / "r.json", force=True, others=[page, artifact])


def test_tables_keep_brackets_that_look_like_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("a [bold] title", ("name", ">number"), [("x[red]y[/]", "1"), ("longer " * 60, "22")])
    written = capsys.readouterr().out
    assert "a [bold] title" in written
    assert "x[red]y[/]" in written
    assert "\x1b" not in written
