"""Output folders that are there whole or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blast_deploy.errors import InvalidInputError, OutputExistsError


@contextmanager
def staged_folder(output: Path, *, marker: str, force: bool) -> Iterator[Path]:
    """Give a temporary sibling of ``output`` to write into, and rename it into place at the end.

    When the block raises or is interrupted, the temporary folder is removed and ``output`` is as before.
    When the process is killed, what remains is a hidden folder whose name ends in ``.partial``.

    Args:
        output: The folder to make.
        marker: A file that every such folder holds. With ``force`` only a folder that holds it, or an empty
            one, is replaced, so that a slip of the hand cannot delete anything else.
        force: Replace an existing folder.

    Raises:
        OutputExistsError: If the output exists and may not be replaced.
        InvalidInputError: If the parent is not a folder that can be written to.
    """
    check_output(output, marker=marker, force=force)
    temporary = output.parent.resolve() / f".{output.name}.{secrets.token_hex(4)}.partial"
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise InvalidInputError(
            f"nothing can be written beside {output} ({error}); choose another output"
        ) from error
    try:
        yield temporary
        _move_into_place(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_output(output: Path, *, marker: str, force: bool) -> None:
    """Refuse an output folder that may not be made, before any work is done; see ``staged_folder``."""
    if not output.exists() and not output.is_symlink():
        return
    if not force:
        raise OutputExistsError(f"{output} exists; choose another output or use force to replace it")
    replaceable = output.is_dir() and ((output / marker).is_file() or not any(output.iterdir()))
    if output.is_symlink() or not replaceable:
        raise OutputExistsError(
            f"{output} holds no {marker}, so it was not made here and is not replaced even with force; "
            "choose another output"
        )


def _move_into_place(temporary: Path, output: Path) -> None:
    if not output.exists():
        temporary.rename(output)
        return
    replaced = temporary.with_name(f"{temporary.name}.replaced")
    output.rename(replaced)
    try:
        temporary.rename(output)
    except BaseException:
        replaced.rename(output)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
