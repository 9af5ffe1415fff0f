"""Sample inputs with their float64 outputs: those beside a portable file, and those a user brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from blast_deploy import reference
from blast_deploy.errors import InvalidInputError
from blast_deploy.model_paths import reference_path
from blast_deploy.passes.promote import evaluate_float64
from blast_deploy.portable import PortableModel
from blast_deploy.reference import Sample
from blast_deploy.runner import check_inputs

MOST_ROWS = 64
"""Rows recomputed for each layer; one wrong panel or weight shows in every row."""


def gather_samples(model: PortableModel, own_inputs: str | Path | None) -> tuple[Sample, ...]:
    """Collect what an artifact of the model will be judged by.

    Args:
        model: The portable model. The reference that export wrote beside it is taken if it is there.
        own_inputs: An ``.npz`` of inputs to judge by as well, or None. Their outputs are computed from the
            model in float64, which is slow for large ones.

    Raises:
        InvalidInputError: If there is neither, or one of them does not fit the model.
    """
    beside = reference_path(model.path)
    samples: tuple[Sample, ...] = ()
    if beside.is_file():
        samples = reference.load(beside, model.sha256).samples
    if own_inputs is not None:
        samples += _evaluate(model, read_inputs(Path(own_inputs)))
    if not samples:
        raise InvalidInputError(
            f"there is nothing to judge {model.path.name} by: {beside.name} is not beside it; "
            "export it with this tool or give samples"
        )
    for index, sample in enumerate(samples):
        check_sample(model, sample, index)
    return samples


def read_inputs(path: Path) -> list[dict[str, NDArray[Any]]]:
    """Read sample inputs from an ``.npz`` file, never unpickling.

    Its arrays are named by input for one sample, or ``0/input``, ``1/input`` and so on for several.

    Raises:
        InvalidInputError: If it cannot be read or mixes the two ways.
    """
    try:
        arrays = reference.read_arrays(path)
    except FileNotFoundError:
        raise InvalidInputError(f"samples file {path} does not exist; give an .npz of inputs") from None
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"samples file {path} is no readable .npz ({error}); write it with numpy.savez"
        ) from error
    parts = {name: name.split("/", 1) for name in arrays}
    numbered = [part for part in parts.values() if len(part) == 2 and part[0].isdecimal()]
    if not arrays or (numbered and len(numbered) != len(arrays)):
        raise InvalidInputError(
            f"samples file {path} must name its arrays by input, or all of them as number/input "
            f"(got {', '.join(arrays) or 'none'})"
        )
    if not numbered:
        return [arrays]
    grouped: dict[int, dict[str, NDArray[Any]]] = {}
    for name, (number, own) in parts.items():
        grouped.setdefault(int(number), {})[own] = arrays[name]
    return [grouped[number] for number in sorted(grouped)]


def check_sample(model: PortableModel, sample: Sample, index: int) -> None:
    """Refuse a sample that cannot judge the model.

    Raises:
        InvalidInputError: If an input does not fit, or an output is missing, empty or not finite.
    """
    check_inputs(model.inputs, sample.inputs)
    for spec in model.outputs:
        expected = sample.outputs.get(spec.name)
        if expected is None:
            raise InvalidInputError(
                f"sample {index} has no reference for output {spec.name}; export the model again"
            )
        if expected.size == 0 or not np.isfinite(expected).all():
            raise InvalidInputError(
                f"sample {index} gives an output {spec.name} that is empty or not finite in float64, "
                "so it cannot judge anything; give other samples"
            )


def pick_rows(count: int, most: int = MOST_ROWS) -> NDArray[np.int64]:
    """Indices of at most ``most`` of ``count`` rows, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _evaluate(model: PortableModel, inputs: list[dict[str, NDArray[Any]]]) -> tuple[Sample, ...]:
    for sample in inputs:
        check_inputs(model.inputs, sample)
    graph = onnx.load(model.path, load_external_data=False)
    outputs = evaluate_float64(graph, inputs, model.path.parent)
    return tuple(Sample(dict(own), expected) for own, expected in zip(inputs, outputs, strict=True))
