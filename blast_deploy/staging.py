"""Output folders and files that are there whole or not at all."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from blast_deploy.errors import DiskFullError, InvalidInputError, OutputExistsError
from blast_deploy.exchange import exchange
from blast_deploy.temporary import temporary_sibling

OwnFiles = Callable[[Path], Collection[str] | None]
"""Relative paths of the files that this tool made in a folder; None where it did not make the folder."""
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full",
    errno.EFBIG: "no file may be that large there",
}
"""What the system's numbers say of a disk."""
_REMEDY = "free some space or choose another output"


@contextmanager
def staged_folder(output: Path, *, own_files: OwnFiles, force: bool) -> Iterator[Path]:
    """Give a temporary sibling of ``output`` to write into, and rename it into place at the end.

    When the block raises or is interrupted, the temporary folder is removed and ``output`` is as before.
    When the process is killed, what remains is a hidden folder whose name ends in ``.partial``, and the next
    run into the same output clears it away.

    Args:
        output: The folder to make.
        own_files: With ``force`` only an empty folder, or one that holds nothing but the files that this
            names, is replaced, so that a slip of the hand cannot delete anything else.
        force: Replace an existing folder.

    Raises:
        OutputExistsError: If the output exists and may not be replaced, at the start or by the end.
        InvalidInputError: If the parent is not a folder that can be written to.
        DiskFullError: If the disk is full.
    """
    check_output(output, own_files=own_files, force=force)
    place = output.resolve()
    with sibling(place, folder=True) as temporary:
        with full_disk_explained(output):
            yield temporary
        # Another run may have made the output meanwhile.
        check_output(output, own_files=own_files, force=force)
        _move_into_place(temporary, place)


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Give an empty temporary sibling of a file to write to, and rename it into place at the end.

    Raises:
        InvalidInputError: If nothing can be written there.
        DiskFullError: If the disk is full.
    """
    with sibling(path, folder=False) as temporary:
        with full_disk_explained(path):
            yield temporary
        temporary.replace(path)


def check_output(output: Path, *, own_files: OwnFiles, force: bool) -> None:
    """Refuse an output folder that may not be made, before any work is done; see ``staged_folder``."""
    # Of "missing/../folder" the system knows nothing, though the folder may be there.
    place = output if output.is_symlink() else output.resolve()
    if not place.exists() and not place.is_symlink():
        return
    if not force:
        raise OutputExistsError(f"{output} exists; choose another output or use force to replace it")
    own = not place.is_symlink() and place.is_dir()
    fault = _foreign_content(place, own_files) if own else "is no folder"
    if fault is not None:
        raise OutputExistsError(
            f"{output} {fault}, so it was not made here and is not replaced even with force; "
            "choose another output or remove it yourself"
        )


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder in the system's temporary place, which is removed at the end.

    Raises:
        DiskFullError: If there is no more room in it.
    """
    remedy = "free some space or set TMPDIR to a folder with more"
    with tempfile.TemporaryDirectory() as folder, full_disk_explained(Path(folder), remedy):
        yield Path(folder)


@contextmanager
def full_disk_explained(output: Path, remedy: str = _REMEDY) -> Iterator[None]:
    """Say in one sentence that a disk is full, where the block's writing finds it so.

    Raises:
        DiskFullError: If the block raises that a disk or a quota is full, or a file too large.
    """
    try:
        yield
    except Exception as error:  # safetensors raises a type of its own, with the number in its message
        for number, reason in _FULL.items():
            if getattr(error, "errno", None) == number or f"(os error {number})" in str(error):
                raise DiskFullError(output, reason, remedy) from error
        raise


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written in the end, before any work is done.

    Raises:
        InvalidInputError: If nothing can be written in its folder.
    """
    with sibling(path, folder=False):
        pass


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all; one that exists is replaced.

    Raises:
        InvalidInputError: If it cannot be written there.
        DiskFullError: If the disk is full.
    """
    with staged_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def sibling(output: Path, *, folder: bool) -> Iterator[Path]:
    """Make a hidden file or folder beside an output, to write into; see ``temporary_sibling``.

    Raises:
        InvalidInputError: If nothing can be written there.
        DiskFullError: If the disk is full.
    """
    with ExitStack() as stack:
        try:
            with full_disk_explained(output):
                temporary = stack.enter_context(temporary_sibling(output, folder=folder))
        except OSError as error:
            raise InvalidInputError(
                f"nothing can be written beside {output} ({error.strerror}); choose another output"
            ) from error
        yield temporary


def _foreign_content(folder: Path, own_files: OwnFiles) -> str | None:
    """What in a folder is not this tool's own, in words; None where nothing is."""
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not _is_folder(path))
    if not found:
        return None
    own = own_files(folder)
    strangers = found if own is None else [name for name in found if name not in own]
    return f"holds {strangers[0]}" if strangers else None


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _move_into_place(temporary: Path, output: Path) -> None:
    if not output.exists():
        temporary.rename(output)
        return
    # The temporary sibling then is what was replaced, and is removed as ever.
    if exchange(temporary, output):
        return
    replaced = temporary.with_name(f"{temporary.name}.replaced")
    output.rename(replaced)
    try:
        temporary.rename(output)
    except BaseException:
        replaced.rename(output)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
