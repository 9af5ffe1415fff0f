"""Result files that ``--json`` asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blast_deploy.errors import InvalidInputError, OutputExistsError
from blast_deploy.results import to_json
from blast_deploy.staging import check_writable, write_whole


def check_file(path: Path | None, *, force: bool, others: Sequence[Path] = ()) -> None:
    """Refuse a result file that may not be written, before any work is done.

    Args:
        path: Where it is to be written; None for nowhere.
        force: Whether it may replace a file.
        others: What else the command writes, and what it reads: the result file may not be one of them, or
            lie in one.

    Raises:
        OutputExistsError: If it exists and ``force`` is not given.
        InvalidInputError: If it is a folder or one of the others, or its folder does not exist or cannot be
            written to.
    """
    if path is None:
        return
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder; give --json a file")
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists; choose another file for --json or use --force to replace it")
    place = path.resolve()
    for other in others:
        if other.resolve() in (place, *place.parents):
            raise InvalidInputError(f"--json {path} would overwrite a part of {other}; give it another file")
    if not path.parent.is_dir():
        raise InvalidInputError(
            f"the folder {path.parent} does not exist; make it, or give --json another file"
        )
    check_writable(path)


def write_file(result: Any, path: Path | None) -> None:
    """Write a result as JSON, whole or not at all; nothing where no path is given.

    Raises:
        InvalidInputError: If it cannot be written.
        DiskFullError: If the disk is full.
    """
    if path is not None:
        write_whole(path, to_json(result) + b"\n")
