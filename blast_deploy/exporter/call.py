"""Example arguments of a module as named tensors, whatever lists and dictionaries they stand in."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blast_deploy.errors import InvalidInputError

Axes = Mapping[str, Mapping[int, str]]
"""Input name to axis to the name of that axis's size."""


@dataclass(frozen=True)
class Call:
    """How to call a module.

    Attributes:
        arguments: Positional arguments, or keyword arguments by name; tensors may stand in lists, tuples and
            dictionaries, and whatever is no tensor is a constant.
        names: Names of the tensors, in the order in which they are met.
    """

    arguments: tuple[Any, ...] | dict[str, Any]
    names: tuple[str, ...]

    @property
    def positional(self) -> tuple[Any, ...]:
        """Positional arguments."""
        return self.arguments if isinstance(self.arguments, tuple) else ()

    @property
    def keywords(self) -> dict[str, Any]:
        """Keyword arguments."""
        return self.arguments if isinstance(self.arguments, dict) else {}

    def inputs(self) -> dict[str, NDArray[Any]]:
        """The example's tensors as arrays, by name."""
        return {
            name: tensor.detach().cpu().numpy()
            for name, (_, tensor) in zip(self.names, tensors(self.arguments), strict=True)
        }

    def replaced(self, inputs: Mapping[str, NDArray[Any]], convert: Callable[[Tensor], Tensor]) -> Call:
        """Make the same call with other tensors.

        Args:
            inputs: Arrays by input name.
            convert: Applied to each as a tensor.

        Raises:
            InvalidInputError: If an input is missing or unknown, or of another dtype or rank.
        """
        if not isinstance(inputs, Mapping):
            raise InvalidInputError(
                f"samples must be a list of mappings from input name to array (one of them is {inputs!r:.40})"
            )
        check_names("input", inputs, self.names)
        examples = dict(zip(self.names, (tensor for _, tensor in tensors(self.arguments)), strict=True))
        # Torch knows no negative strides; a copy has none.
        given = {name: torch.from_numpy(np.array(array, order="C")) for name, array in inputs.items()}
        for name, tensor in given.items():
            if tensor.dtype != examples[name].dtype or tensor.dim() != examples[name].dim():
                raise InvalidInputError(
                    f"input {name!r} must be {_words(examples[name])} like the example (got {_words(tensor)})"
                )
        names = iter(self.names)
        arguments = _replace(self.arguments, lambda _: convert(given[next(names)]))
        return Call(arguments, self.names)

    def dynamic_shapes(self, axes: Axes) -> Any:
        """The nested description of dynamic axes that ``torch.export`` takes.

        Raises:
            InvalidInputError: If there is no such input or axis, or the example has size 1 there, which
                torch would take for fixed.
        """
        for name, wanted in axes.items():
            if name not in self.names:
                raise InvalidInputError(f"there is no input {name!r}; the inputs are {', '.join(self.names)}")
            if not isinstance(wanted, Mapping):
                raise InvalidInputError(
                    f"dynamic_axes must map the axes of input {name!r} to names, such as {{0: 'batch'}} "
                    f"(got {wanted!r})"
                )
        names = iter(self.names)

        def describe(tensor: Tensor) -> dict[int, str] | None:
            return _dynamic_axes(next(names), tensor, axes)

        return _replace(self.arguments, describe, constant=None)


def make_call(
    module: nn.Module, example: Tensor | Sequence[Any] | Mapping[str, Any], names: Sequence[str] | None
) -> Call:
    """Name the tensors of an example call.

    Args:
        module: Whose ``forward`` is called.
        example: One tensor, positional arguments, or keyword arguments.
        names: Names for the tensors; by default those of the parameters, with indices where nested.

    Raises:
        InvalidInputError: If there is no tensor or a bfloat16 one, or more or fewer names than tensors.
    """
    arguments: tuple[Any, ...] | dict[str, Any]
    if isinstance(example, Tensor):
        arguments = (example,)
    elif isinstance(example, Mapping):
        arguments = dict(example)
    else:
        arguments = tuple(example)
    for path, tensor in tensors(arguments):
        if tensor.dtype == torch.bfloat16:
            raise InvalidInputError(
                f"example input {path[-1]!r} is bfloat16, which plain ONNX Runtime cannot compute; convert "
                "the module and its inputs to float32"
            )
    found = [path for path, _ in tensors(arguments)]
    if not found:
        raise InvalidInputError("example_inputs must hold at least one tensor (got none)")
    if names is None:
        parameters = list(inspect.signature(module.forward).parameters)
        names = ["_".join(map(str, _rooted(path, parameters))) for path in found]
    if len(names) != len(found) or len(set(names)) != len(names):
        raise InvalidInputError(
            f"input_names must be {len(found)} different names, one for each tensor (got {', '.join(names)})"
        )
    return Call(arguments, tuple(names))


def tensors(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Tensor]]:
    """Walk through lists, tuples and dictionaries and give each tensor with the keys that lead to it."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from tensors(item, (*path, index))


def check_names(what: str, given: Mapping[str, Any], wanted: Sequence[str]) -> None:
    """Refuse a mapping whose keys are not exactly the wanted names.

    Raises:
        InvalidInputError: Naming a missing or unknown one.
    """
    for name in wanted:
        if name not in given:
            raise InvalidInputError(f"{what} {name!r} is missing; give {', '.join(wanted)}")
    for name in given:
        if name not in wanted:
            raise InvalidInputError(f"{what} {name!r} is not known; give {', '.join(wanted)}")


def _replace(value: Any, change: Callable[[Tensor], Any], **constant: Any) -> Any:
    """Rebuild a nested value with its tensors changed, and the rest too if ``constant`` is given."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _replace(item, change, **constant) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace(item, change, **constant) for item in value]
    if isinstance(value, tuple):
        return tuple(_replace(item, change, **constant) for item in value)
    return constant.get("constant", value)


def _rooted(path: tuple[str | int, ...], parameters: Sequence[str]) -> tuple[str | int, ...]:
    """Write the parameter's name for a positional argument's index."""
    first = path[0]
    if isinstance(first, int):
        first = parameters[first] if first < len(parameters) else f"input_{first}"
    return (first, *path[1:])


def _dynamic_axes(name: str, tensor: Tensor, axes: Axes) -> dict[int, str] | None:
    wanted = axes.get(name)
    if not wanted:
        return None
    for axis, label in wanted.items():
        if not 0 <= axis < tensor.dim():
            raise InvalidInputError(
                f"axis {axis} of input {name!r} must be 0 to {tensor.dim() - 1}; mend dynamic_axes"
            )
        if tensor.shape[axis] < 2:
            raise InvalidInputError(
                f"axis {axis} ({label}) of the example for input {name!r} must be at least 2 to stay dynamic "
                f"(got {tensor.shape[axis]}); give a larger example"
            )
    return dict(wanted)


def _words(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} with {tensor.dim()} axes"
