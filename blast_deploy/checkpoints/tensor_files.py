"""Tensors from files that others wrote: safetensors, and torch files read with weights only.

A torch file is a pickle. It is read by torch's own reader for plain tensors, which runs nothing that the file
names; what that reader refuses is refused here.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from blast_deploy.errors import InvalidInputError

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor and the file it came from.

    Attributes:
        name: Name in the file, or the file's own name where it holds one tensor.
        values: On the CPU, of float16, bfloat16, float32 or float64, perhaps mapped from the file.
        file: Where it lies.
    """

    name: str
    values: Tensor
    file: Path

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its axes."""
        return tuple(self.values.shape)

    def check_finite(self) -> None:
        """Read all values; call it when the shape is known to be right.

        Raises:
            InvalidInputError: If one of them is NaN or infinite.
        """
        if not bool(torch.isfinite(self.values).all()):
            raise InvalidInputError(f"{self.name} in {self.file} holds NaN or infinity; mend the checkpoint")


def read_folder(folder: Path) -> dict[str, StoredTensor]:
    """Read all tensors of a Hugging Face folder, whole or in shards.

    What transformers would read is read: ``model.safetensors``, else its shards by their index, else
    ``pytorch_model.bin``, else its shards.

    Raises:
        InvalidInputError: If there is none of them, a file is damaged, would run code or holds anything but
            float tensors, or the index and the shards disagree.
    """
    for name, read in _READERS.items():
        file, index = folder / name, folder / f"{name}.index.json"
        if file.is_file():
            return read(file)
        if index.is_file():
            return _read_shards(index, read)
    raise InvalidInputError(
        f"{folder} has neither {' nor '.join(_READERS)}, nor an index of shards; copy the folder again"
    )


def read_state(file: Path) -> dict[str, StoredTensor]:
    """Read a state dict of float tensors: a safetensors file, or a torch file.

    Raises:
        InvalidInputError: If there is no such file, it is damaged, would run code or holds anything else.
    """
    if not file.is_file():
        raise InvalidInputError(f"{file} is no file; give a saved state dict")
    return _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)


def read_tensor(file: Path) -> StoredTensor:
    """Read a torch file that holds one float tensor.

    Raises:
        InvalidInputError: If it is damaged, would run code or holds anything else.
    """
    return _stored(file.name, _load_torch(file), file)


def _read_safetensors(file: Path) -> dict[str, StoredTensor]:
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise InvalidInputError(
            f"{file} is no whole safetensors file ({_first_line(error)}); copy it again"
        ) from error
    return {name: _stored(name, tensor, file) for name, tensor in tensors.items()}


def _read_torch(file: Path) -> dict[str, StoredTensor]:
    values = _load_torch(file)
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise InvalidInputError(
            f"{file} holds {type(values).__name__}, not tensors by name; give a saved state dict"
        )
    return {name: _stored(name, value, file) for name, value in values.items()}


_READERS: dict[str, Callable[[Path], dict[str, StoredTensor]]] = {
    "model.safetensors": _read_safetensors,
    "pytorch_model.bin": _read_torch,
}


def _load_torch(file: Path) -> object:
    try:
        # Mapped, so that nothing is unpacked and a file that declares absurd sizes takes no memory.
        return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # a damaged or hostile pickle can raise anything
        raise InvalidInputError(
            f"{file} is damaged, or a pickle of more than plain tensors, which could run code and is not "
            "read; copy it again or save its tensors as safetensors"
        ) from error


def _stored(name: str, value: object, file: Path) -> StoredTensor:
    _check_name(name, file)
    plain = type(value) in (Tensor, nn.Parameter)
    if not isinstance(value, Tensor) or not plain or value.layout != torch.strided or not value.is_cpu:
        raise InvalidInputError(f"{name} in {file} is no plain tensor; save the weights again")
    if value.dtype not in _DTYPES:
        raise InvalidInputError(
            f"{name} in {file} has {value.dtype}; float16, bfloat16, float32 and float64 can be read"
        )
    return StoredTensor(name, value.detach(), file)


def _read_shards(index: Path, read: Callable[[Path], dict[str, StoredTensor]]) -> dict[str, StoredTensor]:
    weight_map = _read_index(index)
    tensors: dict[str, StoredTensor] = {}
    for shard in sorted(set(weight_map.values())):
        file = index.with_name(shard)
        if not file.is_file():
            raise InvalidInputError(f"{index} names {shard}, which is not there; copy the folder again")
        found = read(file)
        expected = {name for name, place in weight_map.items() if place == shard}
        wrong = sorted(found.keys() ^ expected)
        if wrong:
            raise InvalidInputError(
                f"{index} and {shard} disagree on {len(wrong)} tensors ({wrong[0]}); copy the folder again"
            )
        tensors |= found
    return tensors


def _read_index(index: Path) -> dict[str, str]:
    """Give tensor name to the name of a file beside the index; a name that leads elsewhere is refused."""
    try:
        values = json.loads(index.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise InvalidInputError(f"{index} is no readable JSON ({error}); copy the folder again") from error
    weight_map = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise InvalidInputError(f"{index} has no weight_map; copy the folder again")
    for name, shard in weight_map.items():
        _check_name(name, index)
        if not isinstance(shard, str) or shard in ("", ".", "..") or set(shard) & set("/\\:\0"):
            raise InvalidInputError(
                f"{index} places {name} in {shard!r}, which is no file name in its own folder; "
                "do not use this checkpoint"
            )
    return weight_map


def _check_name(name: str, file: Path) -> None:
    """Refuse names that could not be shown: a terminal would obey what they hold."""
    if not name.isprintable():
        raise InvalidInputError(f"{file} names a tensor {name!r}; do not use this checkpoint")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0].rstrip(".")
