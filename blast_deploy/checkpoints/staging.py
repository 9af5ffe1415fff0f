"""Folders that appear whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blast_deploy.errors import OutputExistsError


def check_output(path: Path, force: bool) -> None:
    """Refuse an output that is there already.

    Raises:
        OutputExistsError: If ``path`` exists and ``force`` is not given.
    """
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists already; remove it, choose another output, or pass force")


@contextmanager
def staged_folder(path: Path, force: bool = False) -> Iterator[Path]:
    """Give an empty folder beside ``path`` to write in, and rename it to ``path`` at the end.

    If the block raises, nothing is left behind and what stood at ``path`` is untouched. What a killed
    process left is cleared by the next call for the same path.

    Args:
        path: The folder to make; missing parents are made too.
        force: Whether to replace what stands there.

    Raises:
        OutputExistsError: If ``path`` exists and ``force`` is not given.
    """
    check_output(path, force)
    staging = path.with_name(f".{path.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        replace(staging, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def replace(source: Path, target: Path) -> None:
    """Move a folder onto a path, removing what stood there only after the new one is in place."""
    if not target.exists():
        source.rename(target)
        return
    old = target.with_name(f".{target.name}.old")
    _remove(old)
    target.rename(old)
    source.rename(target)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
