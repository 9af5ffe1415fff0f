"""Plain ONNX Runtime, without the operator library: the measuring rule for a model's own rounding error."""

from __future__ import annotations

import tempfile
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

Arrays = Mapping[str, NDArray[Any]]


def run_stock(model: Path | bytes, samples: Iterable[Arrays]) -> list[dict[str, NDArray[Any]]]:
    """Run a model whose operators of domain ``ai.blast`` are computed by their function bodies.

    Layers of bfloat16, which the runtime cannot compute, run in float with their output rounded.

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
    try:
        with _computable(model) as source:
            session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return [
            dict(zip(names, map(np.asarray, session.run(names, dict(sample))), strict=True))
            for sample in samples
        ]
    except InvalidInputError:
        raise
    except Exception as error:  # the runtime raises types of its own that share no public base
        described = str(model) if isinstance(model, Path) else "the model"
        raise InvalidInputError(
            f"plain ONNX Runtime cannot run {described} ({first_line(error)}); "
            "export it again or give other samples"
        ) from error


def first_line(error: Exception) -> str:
    """The first line of a runtime's message, which may go on for pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def _computable(model: Path | bytes) -> Iterator[str | bytes]:
    """Give what the runtime can load: the file itself, or a widened copy of one with bfloat16 layers."""
    if isinstance(model, bytes):
        yield model
        return
    graph = load_model(model)
    if not WidenBfloat16()(graph).modified:
        yield str(model)
        return
    with tempfile.TemporaryDirectory() as folder:
        widened = Path(folder) / model.name
        save_mapped(graph, widened)
        yield str(widened)
