"""The sizes that a configuration claims, held against the weights that are there.

A model is built from its configuration before any weight is read, so a few bytes there could ask for any
amount of memory and time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from blast_deploy.checkpoints.section import CONFIG, SECTION, read_config
from blast_deploy.errors import InvalidInputError

SLACK = 2**24
"""What a number, or the elements of a model, may be however small the weights are."""
LABELS = 2**16
"""Most labels; transformers makes a name for each of them."""
EXPANSION = 1000
"""Most times that structured layers may be smaller than the dense ones in whose place they are put."""


@dataclass(frozen=True)
class _Weights:
    tensors: int
    elements: int


def check_scale(folder: Path, *, structured: bool) -> None:
    """Refuse a model folder whose configuration claims far more than its weights hold.

    Args:
        folder: A model folder with safetensors weights.
        structured: Whether some of its layers are structured.

    Raises:
        InvalidInputError: If it claims more layers than there are tensors, other numbers beyond the weights'
            elements, or several times as many parameters.
        Exception: Whatever transformers raises for a configuration that it cannot take.
    """
    from transformers import AutoConfig, AutoModel

    weights = _measure(folder)
    for key, number in _numbers({k: v for k, v in read_config(folder).items() if k != SECTION}):
        if abs(number) > _limit(key, weights):
            raise InvalidInputError(
                f"{folder / CONFIG} gives {key!r} as {number}, and the weights have {weights.tensors} "
                f"tensors of {weights.elements} elements in all; copy the folder again"
            )
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        module = AutoModel.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    claimed = sum(parameter.numel() for parameter in module.parameters())
    # Tied tensors are stored once.
    if claimed > SLACK + weights.elements * (EXPANSION if structured else 2):
        raise InvalidInputError(
            f"{folder / CONFIG} asks for {claimed} parameters, and the weights have {weights.elements}; "
            "copy the folder again"
        )


def _measure(folder: Path) -> _Weights:
    sizes = []
    for file in filter(Path.is_file, folder.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as opened:
            sizes += [math.prod(opened.get_slice(name).get_shape()) for name in opened.keys()]  # noqa: SIM118
    return _Weights(len(sizes), sum(sizes))


def _limit(key: str, weights: _Weights) -> int:
    if "label" in key:
        return LABELS
    return weights.tensors if "layer" in key else max(weights.elements, SLACK)


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Every whole number in a configuration, with the key that it stands under."""
    for name, value in values.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                yield from _numbers(item)
            elif isinstance(item, int) and not isinstance(item, bool):
                yield name, item
