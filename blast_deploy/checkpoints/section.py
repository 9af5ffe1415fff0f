"""The section ``structured_layers`` of a model folder's ``config.json``: which layers, and how structured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from torch import nn

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.module import BlastLinear

FORMAT_VERSION = 1
CONFIG = "config.json"
SECTION = "structured_layers"


class StructuredLayer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One structured layer; sizes as in ``BlastMatrix``."""

    out_features: int
    in_features: int
    blocks: tuple[int, int]
    rank: int
    bias: bool


class StructuredSection(msgspec.Struct, frozen=True):
    """All structured layers of a model, by qualified name."""

    format_version: int
    structure: str
    layers: dict[str, StructuredLayer]


def describe(module: nn.Module) -> StructuredSection | None:
    """Describe the structured layers of a model; None if it has none."""
    layers = {
        name: StructuredLayer(
            layer.out_features, layer.in_features, layer.blocks, layer.rank, layer.bias is not None
        )
        for name, layer in module.named_modules()
        if isinstance(layer, BlastLinear)
    }
    return StructuredSection(FORMAT_VERSION, "blast", layers) if layers else None


def read(folder: Path) -> StructuredSection | None:
    """Read which layers of a model folder are structured; None for a dense model.

    Raises:
        InvalidInputError: If there is no folder or no readable configuration, its format is newer, or the
            structure is not known.
    """
    section = read_config(folder).get(SECTION)
    if section is None:
        return None
    version = section.get("format_version") if isinstance(section, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise InvalidInputError(
            f"{folder} was written in format {version} and this version reads up to {FORMAT_VERSION}; "
            "update blast-deploy"
        )
    try:
        structured = msgspec.convert(section, StructuredSection)
    except ValueError as error:
        raise InvalidInputError(
            f"the section {SECTION!r} of {folder / CONFIG} is damaged ({error}); compress the model again"
        ) from error
    if structured.structure != "blast":
        raise InvalidInputError(
            f"{folder} has layers of structure {structured.structure!r}; this version supports blast"
        )
    return structured


def insert(section: StructuredSection, module: nn.Module, folder: Path) -> None:
    """Put empty structured layers, on torch's meta device, where the section says.

    Raises:
        InvalidInputError: If the model lacks such a linear layer or has it in other sizes.
    """
    modules = dict(module.named_modules())
    for name, layer in section.layers.items():
        linear = modules.get(name)
        if not isinstance(linear, nn.Linear):
            raise InvalidInputError(
                f"{folder / CONFIG} names a layer {name!r} that the model does not have; "
                "compress the model again"
            )
        if (linear.out_features, linear.in_features) != (layer.out_features, layer.in_features):
            raise InvalidInputError(
                f"{folder / CONFIG} gives layer {name!r} as {layer.out_features} x {layer.in_features}, "
                f"the model has it as {linear.out_features} x {linear.in_features}; compress the model again"
            )
        try:
            structured = BlastLinear(
                layer.in_features,
                layer.out_features,
                blocks=layer.blocks,
                rank=layer.rank,
                bias=layer.bias,
                device="meta",
            )
        except InvalidInputError as error:
            raise InvalidInputError(
                f"{folder / CONFIG} gives layer {name!r} sizes that no layer has: {error}"
            ) from error
        module.set_submodule(name, structured)


def read_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a model folder.

    Raises:
        InvalidInputError: If there is no folder, or no readable configuration in it.
    """
    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is no folder; give the folder of a Hugging Face model")
    file = folder / CONFIG
    if not file.is_file():
        raise InvalidInputError(f"{folder} has no {CONFIG}; give the folder of a Hugging Face model")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{file} is no readable JSON ({error}); copy the folder again") from error
    if not isinstance(values, dict):
        raise InvalidInputError(f"{file} holds no JSON object; copy the folder again")
    return values
