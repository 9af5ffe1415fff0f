"""What the stages must know of a model family, and which family a model belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray
from torch import nn

from blast_deploy.errors import InvalidInputError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_FAMILIES = {"bert": "blast_deploy.families.bert:BertFamily"}
"""Hugging Face model type to the class that adapts it; a new family is one file and one line here."""


class Family(Protocol):
    """An adapter from one Hugging Face model type to named tensors in and out.

    Attributes:
        model_type: ``model_type`` of the configuration.
        layer_pattern: The linear layers to compress by default, as globs for ``matching_linears``.
        input_names: Names of the inputs, in the order in which the wrapped module takes them.
        output_names: Names of the outputs, in the order in which it returns them.
        dynamic_axes: Input name to axis to the name of that axis's size; all other axes are fixed.
    """

    model_type: str
    layer_pattern: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dynamic_axes: Mapping[str, Mapping[int, str]]

    def __init__(self, config: PretrainedConfig) -> None: ...

    def sample_inputs(self, seed: int = 0) -> tuple[dict[str, NDArray[Any]], ...]:
        """Make at least two inputs of different sizes whose rows differ, with padding in the masks."""
        ...

    def wrap(self, module: nn.Module) -> nn.Module:
        """Give a module that takes ``input_names`` in order and returns ``output_names`` as a tuple."""
        ...


def family(model: nn.Module | PretrainedConfig) -> Family:
    """Find the family of a Hugging Face model or of its configuration.

    Raises:
        InvalidInputError: If it is no Hugging Face model, or of a type that no family adapts.
    """
    config: Any = getattr(model, "config", None) if isinstance(model, nn.Module) else model
    model_type = getattr(config, "model_type", None)
    if not model_type:
        raise InvalidInputError(
            f"{type(model).__name__} is no Hugging Face model, so its inputs and layers are not known; "
            "name them in the call"
        )
    if model_type not in _FAMILIES:
        raise InvalidInputError(
            f"models of type {model_type!r} are not supported; supported: {', '.join(sorted(_FAMILIES))}; "
            "in Python, give export example_inputs or compress layers instead"
        )
    module_name, class_name = _FAMILIES[model_type].split(":")
    adapter: type[Family] = getattr(import_module(module_name), class_name)
    return adapter(config)
