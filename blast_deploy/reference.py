"""Float64 references: sample inputs and the outputs they must give, bound to one model file by its sha256."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError

FORMAT_VERSION = 1
_EXPANSION, _SMALL = 200, 2**28
"""Most times its own size that a packed file may unpack to, unless that is few bytes."""
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Sample:
    """One set of inputs and what the model gives for it in float64.

    Attributes:
        inputs: Input name to array, at the model's own dtypes.
        outputs: Output name to float64 array, of the exported torch model.
        dense_outputs: The same of the dense original, or None where there is none.
    """

    inputs: Arrays
    outputs: Arrays
    dense_outputs: Arrays | None = None


@dataclass(frozen=True)
class Reference:
    """The samples of one model file."""

    model_sha256: str
    samples: tuple[Sample, ...]


class _Header(msgspec.Struct, frozen=True):
    format_version: int
    model_sha256: str
    samples: int


def sha256(path: Path) -> str:
    """Hash a file without holding it in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(reference: Reference, path: Path) -> None:
    """Write a reference as one ``.npz`` file."""
    arrays: dict[str, NDArray[Any]] = {}
    for index, sample in enumerate(reference.samples):
        groups = {"input": sample.inputs, "output": sample.outputs, "dense": sample.dense_outputs or {}}
        for group, members in groups.items():
            for name, array in members.items():
                arrays[f"{index}/{group}/{name}"] = np.asarray(array)
    header = {
        "format_version": FORMAT_VERSION,
        "model_sha256": reference.model_sha256,
        "samples": len(reference.samples),
    }
    with path.open("wb") as file:
        np.savez(file, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array of an ``.npz`` file, never unpickling.

    Raises:
        OSError: If it cannot be opened.
        ValueError: If it is no ``.npz`` file, or a damaged one.
    """
    try:
        # NumPy takes what it does not know for a pickle, and tells the user to allow them.
        with path.open("rb") as opened:
            if not zipfile.is_zipfile(opened):
                raise ValueError("it is no .npz file")
        with np.load(path, allow_pickle=False) as file:
            _check_expansion(file, path)
            return {name: file[name] for name in file.files}
    except (OSError, ValueError):
        raise
    except Exception as error:  # zip, zlib and NumPy's own header reader raise many types
        raise ValueError(str(error)) from error


def _check_expansion(file: np.lib.npyio.NpzFile, path: Path) -> None:
    unpacked = sum(member.file_size for member in file.zip.infolist()) if file.zip is not None else 0
    if unpacked > max(_SMALL, _EXPANSION * path.stat().st_size):
        raise ValueError(f"it unpacks to {unpacked} bytes, over {_EXPANSION} times its own size")


def load(path: Path, model_sha256: str | None = None) -> Reference:
    """Read a reference, never unpickling.

    Args:
        path: The ``.npz`` file.
        model_sha256: The hash of the model that it must belong to, or None for any.

    Raises:
        InvalidInputError: If it is missing, damaged, of another format, or belongs to another model.
    """
    try:
        arrays = read_arrays(path)
        header = msgspec.json.decode(arrays.pop("header").tobytes(), type=_Header)
        held = len({name.partition("/")[0] for name in arrays})
        if header.samples != held:
            raise ValueError(f"it holds arrays of {held} samples, its header says {header.samples}")
        samples = tuple(_sample(arrays, index) for index in range(held))
        version, bound_to = header.format_version, header.model_sha256
    except FileNotFoundError:
        raise InvalidInputError(f"{path} does not exist; export writes it beside the model") from None
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise InvalidInputError(
            f"{path} is no readable reference ({error}); export the model again"
        ) from error
    if version != FORMAT_VERSION:
        raise InvalidInputError(
            f"{path} has reference format {version}, this version reads {FORMAT_VERSION}; "
            "export the model again"
        )
    if model_sha256 is not None and bound_to != model_sha256:
        raise InvalidInputError(
            f"{path} belongs to another model file (sha256 {bound_to[:12]}, not {model_sha256[:12]}); "
            "export the model again"
        )
    return Reference(bound_to, samples)


def _sample(arrays: Arrays, index: int) -> Sample:
    def group(kind: str) -> dict[str, NDArray[Any]]:
        prefix = f"{index}/{kind}/"
        return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

    return Sample(group("input"), group("output"), group("dense") or None)
