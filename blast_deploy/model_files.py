"""The files of a portable model: all of them, or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir

from blast_deploy.errors import InvalidInputError, OutputExistsError
from blast_deploy.model_paths import data_path, files_of, reference_path
from blast_deploy.passes.save import save_mapped
from blast_deploy.passes.seal import seal
from blast_deploy.staging import full_disk_explained, sibling

EMBEDDED_LIMIT = 3 << 29
"""Bytes of weights (1.5 GiB) above which they go to a file of their own: protobuf ends at 2 GiB."""


def write_model(model: ir.Model, path: Path) -> None:
    """Write a portable model; many weights go to a file beside it, whose hash it then bears."""
    weights = (value.const_value for value in model.graph.initializers.values())
    if sum(weight.nbytes for weight in weights if weight is not None) > EMBEDDED_LIMIT:
        save_mapped(model, path)
        seal(path)
    else:
        ir.external_data.load_to_model(model)
        ir.save(model, path)


def model_bytes(path: Path) -> int:
    """Bytes of a model file and of the external weights that this tool writes beside it."""
    return sum(file.stat().st_size for file in (path, data_path(path)) if file.exists())


def check_output(path: Path, force: bool) -> None:
    """Refuse a path that may not be written to, before any work is done.

    Raises:
        InvalidInputError: If it does not end in ``.onnx``, or one of the files is a folder.
        OutputExistsError: If one of the files exists and ``force`` is not given.
    """
    if path.suffix != ".onnx":
        raise InvalidInputError(f"the output must end in .onnx (got {path}); name a file such as model.onnx")
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder; name a file such as {path / 'model.onnx'}")
    for file in files_of(path):
        if file.is_dir():
            raise InvalidInputError(
                f"{file} is a folder, and a file of that name belongs to {path}; choose another output"
            )
        if file.exists() and not force:
            raise OutputExistsError(
                f"{file} exists already; choose another output or pass force to replace it"
            )


def check_apart(path: Path, source: Path, graph: ir.Model) -> None:
    """Refuse an output that would replace what is read: a model, its reference or its external weights.

    Args:
        path: The output.
        source: The model's file.
        graph: The model; its weights may lie under the name of another model's, where it was renamed.

    Raises:
        InvalidInputError: Naming the file that would be lost.
    """
    if path.resolve() == source.resolve():
        raise InvalidInputError(f"the output is the model {path} itself; choose another file")
    weights = (value.const_value for value in graph.graph.initializers.values())
    read = {Path(each.path).resolve() for each in weights if isinstance(each, ir.ExternalTensor)}
    for file in files_of(path):
        if file.resolve() in {*read, reference_path(source).resolve()}:
            raise InvalidInputError(
                f"the output would replace {file}, which {source} is read from; choose another output"
            )


@contextmanager
def staged_files(path: Path, force: bool) -> Iterator[Path]:
    """Give the model's path in a temporary folder beside ``path``, and move what was written into place.

    The model itself is moved last, so it never stands without its data. If the block raises, nothing is left
    and what stood there is untouched; a killed process leaves a hidden folder, which the next run into the
    same output clears away. Several files cannot be replaced in one step: a process killed while they are
    moved may leave no model, an earlier one included, but never one with the data of another.

    Raises:
        InvalidInputError: If nothing can be written there.
        DiskFullError: If the disk is full.
        OutputExistsError: If one of the files has come to exist meanwhile and ``force`` is not given.
    """
    with sibling(path, folder=True) as folder:
        staged = folder / path.name
        with full_disk_explained(path):
            yield staged
        # Another run may have made them meanwhile.
        check_output(path, force)
        _replace(staged, path, folder / "replaced")


def _replace(staged: Path, path: Path, aside: Path) -> None:
    """Move files into place; the old model goes first and the new one comes last.

    So at no moment does a model stand with the data or the reference of another.
    """
    aside.mkdir()
    before = [file for file in files_of(path) if file.exists()]
    try:
        for file in reversed(before):
            file.replace(aside / file.name)
        for source, target in zip(files_of(staged), files_of(path), strict=True):
            if source.exists():
                source.replace(target)
    except BaseException:
        for file in files_of(path):
            if (aside / file.name).exists():
                (aside / file.name).replace(file)
            elif file not in before:
                file.unlink(missing_ok=True)
        raise
