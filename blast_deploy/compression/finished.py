"""Finished layers kept beside the output, so that an interrupted compression goes on where it was."""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from blast_deploy.errors import InvalidInputError
from blast_deploy.locks import lock
from blast_deploy.staging import full_disk_explained
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.gblr.intervals import IntervalFactor
from blast_deploy.structures.gblr.matrix import GblrMatrix

Matrix = BlastMatrix | GblrMatrix

_FINGERPRINT = "fingerprint"


class FinishedLayers:
    """A work folder with one file per finished layer, bound to what they were made from.

    Every file appears whole or not at all; a damaged one counts as not there. The folder is locked as long
    as its object lives or until ``remove``, and the lock ends with the process, however that ends.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Open the work folder; one that was made for another fingerprint is cleared.

        Args:
            folder: The work folder; made if it is missing.
            fingerprint: Hash of the source weights and of all settings.

        Raises:
            InvalidInputError: If nothing can be written there, another run is using it, or it was not made
                here.
            DiskFullError: If the disk is full.
        """
        self._folder = folder
        try:
            with full_disk_explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
                self._unlock = weakref.finalize(self, _close, _lock(folder))
                if _matches(folder, fingerprint):
                    return
                _clear(folder)
                self._begin(fingerprint)
        except OSError as error:
            raise InvalidInputError(
                f"finished layers cannot be kept in {folder} ({error}); choose another output"
            ) from error

    def get(self, index: int, out_features: int, in_features: int) -> tuple[Matrix, float] | None:
        """Give a finished layer's matrix and the CPU seconds it took, or None."""
        try:
            with safe_open(self._file(index), framework="numpy") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            seconds = float(tensors.pop("cpu_seconds")[0])
            return _matrix(tensors, out_features, in_features), seconds
        except (OSError, KeyError, SafetensorError, InvalidInputError):
            return None

    def put(self, index: int, matrix: Matrix, cpu_seconds: float) -> None:
        """Keep a finished layer.

        Raises:
            DiskFullError: If the disk is full.
        """
        file = self._file(index)
        partial = file.with_suffix(".partial")
        tensors = _tensors(matrix) | {"cpu_seconds": np.array([cpu_seconds])}
        with full_disk_explained(file):
            save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, partial)
            partial.replace(file)

    def remove(self, keep_if_used: bool = False) -> None:
        """Delete the work folder, or keep it if asked to and a layer is finished; unlock it in any case."""
        if not (keep_if_used and any(self._folder.glob("*.safetensors"))):
            shutil.rmtree(self._folder, ignore_errors=True)
        self._unlock()

    def _begin(self, fingerprint: str) -> None:
        try:
            (self._folder / _FINGERPRINT).write_text(fingerprint)
        except BaseException:
            self.remove()
            raise

    def _file(self, index: int) -> Path:
        return self._folder / f"{index:04d}.safetensors"


def _tensors(matrix: Matrix) -> dict[str, NDArray[Any]]:
    if isinstance(matrix, BlastMatrix):
        return {"U": matrix.u, "S": matrix.s, "V": matrix.v}
    return matrix.tensors()


def _matrix(tensors: Mapping[str, NDArray[Any]], out_features: int, in_features: int) -> Matrix:
    if "U" in tensors:
        return BlastMatrix(tensors["U"], tensors["S"], tensors["V"], out_features, in_features)
    u, v = (
        IntervalFactor(tensors[name], tensors[f"{name}_start"], tensors[f"{name}_width"], size)
        for name, size in (("u", out_features), ("v", in_features))
    )
    return GblrMatrix(u, v)


def _matches(folder: Path, fingerprint: str) -> bool:
    try:
        return (folder / _FINGERPRINT).read_text() == fingerprint
    except OSError:
        return False


def _lock(folder: Path) -> int | None:
    """Lock a folder; gives the descriptor that holds the lock until it is closed."""
    try:
        descriptor = lock(folder)
    except OSError:  # a file system without locks leaves it to the user to start no second run
        return None
    if descriptor is None:
        raise InvalidInputError(
            f"another run is using {folder} for the same output; wait for it or choose another output"
        )
    return descriptor


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _clear(folder: Path) -> None:
    files = sorted(folder.iterdir())
    if files and folder / _FINGERPRINT not in files:
        raise InvalidInputError(
            f"{folder} holds {files[0].name}, so it was not made here, and finished layers cannot be kept "
            "there; choose another output"
        )
    for file in files:
        file.unlink()
