"""Hidden siblings to write an output into, which the next run clears away when their own was killed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blast_deploy.locks import lock


@contextmanager
def temporary_sibling(place: Path, *, folder: bool) -> Iterator[Path]:
    """Make an empty hidden file or folder beside ``place``; what has its name is removed at the end.

    A process that is killed leaves it behind, named ``.NAME.xxxxxxxx.partial``. What earlier runs left is
    cleared away first, where a lock shows that no living process owns it.

    Raises:
        OSError: If nothing can be made there.
    """
    _sweep(place)
    path, descriptor = _free_name(place), None
    # An interruption may come as soon as there is something to remove.
    try:
        descriptor = _make(path, folder)
        yield path
    finally:
        try:
            _remove(path)
        except BaseException:  # interrupted in the middle of it
            _remove(path)
            raise
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _free_name(place: Path) -> Path:
    while True:
        path = place.with_name(f".{place.name}.{secrets.token_hex(4)}.partial")
        if not os.path.lexists(path):
            return path


def _make(path: Path, folder: bool) -> int | None:
    """Make the sibling and lock it; None for the lock where the file system has none."""
    while True:
        if folder:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.touch()
        try:
            descriptor = lock(path)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        # Another run may have swept it up before it was locked.
        if descriptor is not None:
            return descriptor


def _sweep(place: Path) -> None:
    name = re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]{{8}}\.partial")
    try:
        left = [path for path in place.parent.iterdir() if name.fullmatch(path.name)]
    except OSError:
        return
    for path in left:
        # Without locks nobody can tell whether a run still writes there.
        with contextlib.suppress(OSError):
            descriptor = lock(path)
            if descriptor is not None:
                _remove(path)
                os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
