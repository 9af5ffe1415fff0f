"""The section ``structured_layers`` of a model folder's ``config.json``: which layers, and how structured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import msgspec
from torch import nn

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.module import BlastLinear
from blast_deploy.structures.gblr.gaudi import GaudiGblrLinear
from blast_deploy.structures.gblr.module import GblrLinear

FORMAT_VERSION = 2
"""Version 1 knows BLAST alone; a folder of BLAST alone is still written in it."""
CONFIG = "config.json"
SECTION = "structured_layers"


class BlastEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="structure", tag="blast"):
    """One BLAST layer; sizes as in ``BlastMatrix``."""

    out_features: int
    in_features: int
    blocks: tuple[int, int]
    rank: int
    bias: bool

    def empty(self) -> nn.Module:
        """Make the layer on torch's meta device, where it takes no memory."""
        return BlastLinear(
            self.in_features,
            self.out_features,
            blocks=self.blocks,
            rank=self.rank,
            bias=self.bias,
            device="meta",
        )


class GblrEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="structure", tag="gblr"):
    """One GBLR layer: its components, and how many left and right values they have."""

    out_features: int
    in_features: int
    components: int
    values: tuple[int, int]
    bias: bool

    def empty(self) -> nn.Module:
        """Make the layer on torch's meta device, where it takes no memory."""
        return GblrLinear(
            self.in_features,
            self.out_features,
            components=self.components,
            values=self.values,
            bias=self.bias,
            device="meta",
        )


Entry = BlastEntry | GblrEntry


class StructuredSection(msgspec.Struct, frozen=True):
    """All structured layers of a model, by qualified name; where they are mixed, each tells its own."""

    format_version: int
    structure: Literal["blast", "gblr", "mixed"]
    layers: dict[str, Entry]

    def written(self) -> dict[str, Any]:
        """As it stands in the configuration: what the whole section says no layer repeats."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        for layer in values["layers"].values() if self.structure != "mixed" else ():
            del layer["structure"]
        return values


def describe(module: nn.Module) -> StructuredSection | None:
    """Describe the structured layers of a model; None if it has none.

    Raises:
        InvalidInputError: If a layer still learns its structure.
    """
    named = {name: _entry(name, layer) for name, layer in module.named_modules()}
    layers = {name: entry for name, entry in named.items() if entry is not None}
    if not layers:
        return None
    if all(isinstance(entry, BlastEntry) for entry in layers.values()):
        return StructuredSection(1, "blast", layers)
    alike = all(isinstance(entry, GblrEntry) for entry in layers.values())
    return StructuredSection(FORMAT_VERSION, "gblr" if alike else "mixed", layers)


def _entry(name: str, layer: nn.Module) -> Entry | None:
    if isinstance(layer, BlastLinear):
        sizes = layer.out_features, layer.in_features
        return BlastEntry(*sizes, layer.blocks, layer.rank, layer.bias is not None)
    if isinstance(layer, GblrLinear):
        values = layer.u.numel(), layer.v.numel()
        sizes = layer.out_features, layer.in_features
        return GblrEntry(*sizes, layer.components, values, layer.bias is not None)
    if isinstance(layer, GaudiGblrLinear):
        raise InvalidInputError(
            f"layer {name!r} still learns its structure, which no folder can hold; give bd.freeze(model)"
        )
    return None


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
    structure = section.get("structure") if isinstance(section, dict) else None
    if isinstance(structure, str) and structure not in ("blast", "gblr", "mixed"):
        raise InvalidInputError(
            f"{folder} has layers of structure {structure!r}; this version supports blast, gblr and mixed"
        )
    try:
        return msgspec.convert(_with_structures(section), StructuredSection)
    except ValueError as error:
        raise InvalidInputError(
            f"the section {SECTION!r} of {folder / CONFIG} is damaged ({error}); compress the model again"
        ) from error


def _with_structures(section: Any) -> Any:
    """Let each layer tell the structure that the whole section has told."""
    layers = section.get("layers") if isinstance(section, dict) else None
    if not isinstance(layers, dict) or section.get("structure") == "mixed":
        return section
    told = {"structure": section.get("structure")}
    named = {name: told | entry if isinstance(entry, dict) else entry for name, entry in layers.items()}
    return section | {"layers": named}


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
            structured = layer.empty()
        except InvalidInputError as error:
            raise InvalidInputError(
                f"{folder / CONFIG} gives layer {name!r} sizes that no layer has: {error}"
            ) from error
        module.set_submodule(name, structured)


def check_intervals(module: nn.Module, folder: Path) -> None:
    """Refuse GBLR layers whose loaded intervals lie outside their axes or do not fit their values.

    Raises:
        InvalidInputError: Naming the layer.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, GblrLinear):
            try:
                layer.matrix()
            except InvalidInputError as error:
                raise InvalidInputError(
                    f"layer {name!r} in {folder} is no GBLR layer ({error}); copy the folder again"
                ) from error


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
