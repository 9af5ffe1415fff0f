"""Plain ONNX Runtime, without the operator library: the measuring rule for a model's own rounding error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError

Arrays = Mapping[str, NDArray[Any]]

NEARBY = 3
"""How many times inputs are rounded otherwise."""


def run_stock(model: Path | bytes, samples: Iterable[Arrays]) -> list[dict[str, NDArray[Any]]]:
    """Run a model whose operators of domain ``ai.blast`` are computed by their function bodies.

    Args:
        model: A file, or a serialised model without external data.
        samples: Inputs by name, one mapping for each run.

    Returns:
        Outputs by name, for each sample.

    Raises:
        InvalidInputError: If the runtime refuses the model or the inputs, with its words.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    source = str(model) if isinstance(model, Path) else model
    try:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return [
            dict(zip(names, map(np.asarray, session.run(names, dict(sample))), strict=True))
            for sample in samples
        ]
    except Exception as error:  # the runtime raises types of its own that share no public base
        described = str(model) if isinstance(model, Path) else "the model"
        raise InvalidInputError(
            f"plain ONNX Runtime cannot run {described} ({first_line(error)}); "
            "export it again or give other samples"
        ) from error


def nearby(sample: Arrays) -> list[Arrays]:
    """A sample, and the same with its numbers moved at random by at most one unit in the last place.

    What a body errs on one sample may be small by luck, or because the truth was rounded in the same way: a
    few output values, or float64, are enough for that. The other roundings show what an error is worth.

    Args:
        sample: Inputs by name. Without floating-point numbers it stays alone.
    """
    if not any(np.issubdtype(array.dtype, np.floating) for array in sample.values()):
        return [sample]
    random = np.random.default_rng(0)
    others = ({name: _nudged(array, random) for name, array in sample.items()} for _ in range(NEARBY))
    return [sample, *others]


def _nudged(array: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
    if not np.issubdtype(array.dtype, np.floating):
        return array
    direction = random.integers(-1, 2, array.shape)
    towards = np.where(direction == 0, array, np.copysign(np.inf, direction).astype(array.dtype))
    with np.errstate(over="ignore"):
        moved: NDArray[Any] = np.nextafter(array, towards.astype(array.dtype))
    # Zeros are often exact, such as padding; and the largest number has no finite neighbour.
    return np.where((array == 0) | ~np.isfinite(moved), array, moved)


def first_line(error: Exception) -> str:
    """The first line of a runtime's message, which may go on for pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
