"""Plain ONNX Runtime, without the operator library: the measuring rule for a model's own rounding error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.load import load_model
from blast_deploy.passes.save import save_mapped
from blast_deploy.passes.widen_bfloat16 import WidenBfloat16
from blast_deploy.runtime import check, open_session
from blast_deploy.staging import scratch_folder

Arrays = Mapping[str, NDArray[Any]]

NEARBY = 3
"""How many times inputs are rounded otherwise."""


def run_stock(
    model: Path | bytes, samples: Iterable[Arrays], *, prepack: bool = True, shown: Path | None = None
) -> list[dict[str, NDArray[Any]]]:
    """Run a model whose operators of domain ``ai.blast`` are computed by their function bodies.

    Layers of bfloat16, which the runtime cannot compute, run in float with their output rounded.

    Args:
        model: A file, or a serialised model without external data.
        samples: Inputs by name, one mapping for each run.
        prepack: Let the runtime copy dense weights into an order of its own, as it does for users: faster,
            and rounded a little differently. Without it, external weights take no memory but their file's.
        shown: The file that errors name, where ``model`` was made from it.

    Returns:
        Outputs by name, for each sample.

    Raises:
        InvalidInputError: If the runtime refuses the model or the inputs, with its words.
        UnsupportedMachineError: If the runtime is missing or too old.
    """
    check()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not prepack:
        options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        with _computable(model) as source:
            session = open_session(source, options)
        names = [output.name for output in session.get_outputs()]
        return [
            dict(zip(names, map(np.asarray, session.run(names, dict(sample))), strict=True))
            for sample in samples
        ]
    except InvalidInputError:
        raise
    except Exception as error:  # the runtime raises types of its own that share no public base
        described = str(shown or model) if shown or isinstance(model, Path) else "the model"
        remedy = "export it again or give other samples"
        if "NOT_IMPLEMENTED" in str(error):
            remedy = "it lacks that operator at that type, so compute that part of the model in float32"
        raise InvalidInputError(
            f"plain ONNX Runtime cannot run {described} ({first_line(error)}); {remedy}"
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


@contextmanager
def _computable(model: Path | bytes) -> Iterator[Path | bytes]:
    """Give what the runtime can load: the file itself, or a widened copy of one with bfloat16 layers."""
    if isinstance(model, bytes):
        yield model
        return
    graph = load_model(model)
    if not WidenBfloat16()(graph).modified:
        yield model
        return
    with scratch_folder() as folder:
        widened = folder / model.name
        save_mapped(graph, widened)
        yield widened
