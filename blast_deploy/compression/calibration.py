"""Calibration data as batches of model inputs: from a text file, from an ``.npz`` of inputs, or as given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blast_deploy.errors import InvalidInputError
from blast_deploy.reference import read_arrays

Batch = Mapping[str, Tensor]
Source = Path | str | Iterable[Mapping[str, Any]]
MAX_TOKENS = 128
_BATCH_ROWS = 32


@dataclass(frozen=True)
class Calibration:
    """Inputs to run a model on.

    Attributes:
        batches: Keyword arguments of one call each.
        sha256: Of all names and values.
    """

    batches: tuple[Batch, ...]
    sha256: str


def read(source: Source, tokenizer_folder: Path | None) -> Calibration:
    """Read calibration data.

    Args:
        source: A text file with one sentence per line; an ``.npz`` file whose arrays are inputs by name, all
            with the same leading batch axis; or mappings from input name to tensor or array, one per call.
        tokenizer_folder: Folder of the model whose tokenizer turns text into inputs; None if there is none.

    Raises:
        InvalidInputError: If the data is missing, empty or unreadable, or text has no tokenizer.
    """
    if not isinstance(source, (str, Path)):
        batches = [_tensors(batch) for batch in source]
    else:
        path = Path(source)
        if not path.is_file():
            raise InvalidInputError(f"the calibration file {path} does not exist; give a text or .npz file")
        arrays = path.suffix == ".npz"
        batches = list(_from_arrays(path)) if arrays else list(_from_text(path, tokenizer_folder))
    if not batches:
        raise InvalidInputError("the calibration data is empty; give at least one sentence or input")
    return Calibration(tuple(batches), _sha256(batches))


def _tensors(batch: Mapping[str, Any]) -> Batch:
    if not isinstance(batch, Mapping):
        raise InvalidInputError(
            f"calibration inputs must be mappings from input name to array (got {type(batch).__name__})"
        )
    try:
        return {name: torch.as_tensor(value) for name, value in batch.items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(
            f"calibration inputs must be arrays ({error}); give tensors or NumPy arrays"
        ) from error


def _from_arrays(path: Path) -> Iterator[Batch]:
    try:
        arrays = read_arrays(path)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{path} is no readable .npz file ({error}); write it with numpy.savez"
        ) from error
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise InvalidInputError(
            f"the arrays in {path} must share a leading batch axis that is not empty (got lengths {lengths})"
        )
    for start in range(0, max(lengths.values(), default=0), _BATCH_ROWS):
        yield {name: torch.from_numpy(array[start : start + _BATCH_ROWS]) for name, array in arrays.items()}


def _from_text(path: Path, tokenizer_folder: Path | None) -> Iterator[Batch]:
    """Tokenize sentences in batches of similar length, which need little padding."""
    if tokenizer_folder is None:
        raise InvalidInputError(
            f"{path} is text and a bare module has no tokenizer; give the model's folder, or inputs"
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is no UTF-8 text ({error}); save it as UTF-8 or as .npz") from error
    sentences = [line.strip() for line in lines if line.strip()]
    if not sentences:
        return
    tokenizer = _tokenizer(tokenizer_folder)
    longest = min(MAX_TOKENS, tokenizer.model_max_length)
    tokens = tokenizer(sentences, truncation=True, max_length=longest)
    rows = sorted(
        ({name: values[index] for name, values in tokens.items()} for index in range(len(sentences))),
        key=lambda row: (len(row["input_ids"]), row["input_ids"]),
    )
    for start in range(0, len(rows), _BATCH_ROWS):
        yield dict(tokenizer.pad(rows[start : start + _BATCH_ROWS], return_tensors="pt"))


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n", 1)[0].rstrip(".")
        raise InvalidInputError(
            f"{folder} has no usable tokenizer for the calibration text ({reason}); "
            "add its tokenizer files or give inputs as .npz"
        ) from error


def _sha256(batches: Iterable[Batch]) -> str:
    digest = hashlib.sha256()
    for batch in batches:
        for name, tensor in sorted(batch.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
