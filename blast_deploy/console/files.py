"""Result files that ``--json`` asks for."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from blast_deploy.errors import InvalidInputError, OutputExistsError
from blast_deploy.results import to_json


def check_file(path: Path | None, *, force: bool) -> None:
    """Refuse a result file that may not be written, before any work is done.

    Raises:
        OutputExistsError: If it exists and ``force`` is not given.
        InvalidInputError: If it is a folder, or its folder does not exist.
    """
    if path is None:
        return
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder; give --json a file")
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists; choose another file for --json or use --force to replace it")
    if not path.parent.is_dir():
        raise InvalidInputError(
            f"the folder {path.parent} does not exist; make it, or give --json another file"
        )


def write_file(result: Any, path: Path | None) -> None:
    """Write a result as JSON, whole or not at all; nothing where no path is given."""
    if path is None:
        return
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(to_json(result) + b"\n")
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
