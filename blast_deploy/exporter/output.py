"""The files that export makes: all of them, or none."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blast_deploy import reference
from blast_deploy.errors import InvalidInputError, OutputExistsError
from blast_deploy.passes.save import data_path
from blast_deploy.staging import full_disk_explained


def check_output(path: Path, force: bool) -> None:
    """Refuse a path that export may not write to, before any work is done.

    Raises:
        InvalidInputError: If it does not end in ``.onnx``, or one of the files is a folder.
        OutputExistsError: If one of the files exists and ``force`` is not given.
    """
    if path.suffix != ".onnx":
        raise InvalidInputError(f"the output must end in .onnx (got {path}); name a file such as model.onnx")
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder; name a file such as {path / 'model.onnx'}")
    for file in _files(path):
        if file.is_dir():
            raise InvalidInputError(
                f"{file} is a folder, and a file of that name belongs to {path}; choose another output"
            )
        if file.exists() and not force:
            raise OutputExistsError(
                f"{file} exists already; choose another output or pass force to replace it"
            )


@contextmanager
def staged_files(path: Path, force: bool) -> Iterator[Path]:
    """Give the model's path in a temporary folder beside ``path``, and move what was written into place.

    The model itself is moved last, so it never stands without its data. If the block raises, nothing is left
    and what stood there is untouched.

    Raises:
        InvalidInputError: If nothing can be written there.
        DiskFullError: If the disk is full.
        OutputExistsError: If one of the files has come to exist meanwhile and ``force`` is not given.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    except OSError as error:
        raise InvalidInputError(
            f"nothing can be written beside {path} ({error.strerror}); choose another output"
        ) from error
    try:
        staged = folder / path.name
        with full_disk_explained(path):
            yield staged
        # Another run may have made them meanwhile.
        check_output(path, force)
        for source, target in zip(_files(staged), _files(path), strict=True):
            if source.exists():
                source.replace(target)
            else:
                target.unlink(missing_ok=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _files(path: Path) -> tuple[Path, Path, Path]:
    return data_path(path), reference.path_for(path), path
