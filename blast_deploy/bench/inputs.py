"""The inputs that contenders are timed on: of the sizes asked for, with values that the model can take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.planning.shape import parse_shape
from blast_deploy.reference import Arrays, Sample
from blast_deploy.results import TensorSpec

Sizes = dict[str, int]


def sizes_to_time(
    shapes: Sequence[str | Mapping[str, int]] | None, inputs: Sequence[TensorSpec], samples: Sequence[Sample]
) -> tuple[Sizes, ...]:
    """What each dynamic axis is to be, once for every shape to time.

    Args:
        shapes: Texts such as ``batch=1,sequence=16``, or mappings; axes they leave out are as in the first
            sample. None or none at all: the sizes of every sample.
        inputs: The model's inputs.
        samples: The model's sample inputs.

    Raises:
        InvalidInputError: If a text cannot be read, names an axis that the model lacks or gives a range, or
            if an axis has no size from anywhere.
    """
    axes = tuple(dict.fromkeys(size for spec in inputs for size in spec.shape if isinstance(size, str)))
    from_samples = [_sizes_of(inputs, sample.inputs) for sample in samples]
    wanted: list[Sizes] = []
    if shapes:
        defaults = from_samples[0] if from_samples else {}
        wanted = [{**defaults, **_named_sizes(shape, axes)} for shape in shapes]
    else:
        wanted = from_samples or [{}]
    for sizes in wanted:
        missing = [axis for axis in axes if axis not in sizes]
        if missing:
            raise InvalidInputError(
                f"axis {missing[0]!r} has no size, and there is no sample to take it from; "
                f"name it in --shape, such as {missing[0]}=1"
            )
    return tuple(_distinct({axis: sizes[axis] for axis in axes} for sizes in wanted))


def build_inputs(
    inputs: Sequence[TensorSpec], sizes: Mapping[str, int], samples: Sequence[Sample], seed: int = 0
) -> dict[str, NDArray[Any]]:
    """Make inputs of the given sizes.

    The largest sample of each input is repeated along its axes and cut, so that integers stay valid as what
    they are (token ids, masks). Without a sample, floats are standard normal and everything else is one.

    Args:
        inputs: The model's inputs.
        sizes: Every dynamic axis with its size.
        samples: The model's sample inputs.
        seed: Of the random values.
    """
    random = np.random.default_rng(seed)
    built: dict[str, NDArray[Any]] = {}
    for spec in inputs:
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in spec.shape)
        known = [sample.inputs[spec.name] for sample in samples if spec.name in sample.inputs]
        usable = [array for array in known if array.ndim == len(shape) and array.size > 0]
        if usable:
            built[spec.name] = _tiled(max(usable, key=lambda array: array.size), shape)
        else:
            built[spec.name] = _invented(np.dtype(spec.dtype), shape, random)
    return built


def _named_sizes(shape: str | Mapping[str, int], axes: Sequence[str]) -> Sizes:
    text = shape if isinstance(shape, str) else ",".join(f"{axis}={size}" for axis, size in shape.items())
    ranges = parse_shape(text, axes)
    named = [part.partition("=")[0].strip() for part in text.split(",") if part.strip()]
    for axis in named:
        fewest, most = ranges[axis]
        if fewest != most:
            raise InvalidInputError(
                f"axis {axis!r} is given as the range {fewest}:{most}, and a benchmark needs one size; "
                f"repeat --shape for more"
            )
    return {axis: ranges[axis][0] for axis in named}


def _sizes_of(inputs: Sequence[TensorSpec], arrays: Arrays) -> Sizes:
    return {
        axis: size
        for spec in inputs
        if spec.name in arrays
        for axis, size in zip(spec.shape, arrays[spec.name].shape, strict=False)
        if isinstance(axis, str)
    }


def _distinct(all_sizes: Iterable[Sizes]) -> list[Sizes]:
    distinct: list[Sizes] = []
    for sizes in all_sizes:
        if sizes not in distinct:
            distinct.append(sizes)
    return distinct


def _tiled(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    for axis, size in enumerate(shape):
        array = np.take(array, np.arange(size) % array.shape[axis], axis=axis)
    return np.ascontiguousarray(array)


def _invented(dtype: np.dtype[Any], shape: tuple[int, ...], random: np.random.Generator) -> NDArray[Any]:
    if np.issubdtype(dtype, np.floating):
        return random.standard_normal(shape).astype(dtype)
    return np.ones(shape, dtype)
