"""What a user would run instead: an ONNX file in stock ONNX Runtime, without the operator library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.reference import Arrays
from blast_deploy.results import TensorSpec
from blast_deploy.runtime import check, open_session
from blast_deploy.stock import first_line


class StockOnnxRuntime:
    """A model file in ONNX Runtime as installed: its own kernels, and function bodies where it has none."""

    def __init__(self, path: Path, threads: int) -> None:
        """Open a model file.

        Args:
            path: The ``.onnx`` file.
            threads: Threads within an operator; with one, everything runs in the calling thread.

        Raises:
            InvalidInputError: If ONNX Runtime does not take the file.
            UnsupportedMachineError: If it is too old.
        """
        check()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin after a run would take time from the contender whose turn comes next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = open_session(path, options)
        except Exception as error:  # the runtime's exceptions share no base class of their own
            raise InvalidInputError(
                f"ONNX Runtime cannot open {path} ({first_line(error)}); export it again"
            ) from error
        self._output_names = [output.name for output in self._session.get_outputs()]

    @property
    def runtime(self) -> str:
        """What runs it, with its version."""
        import onnxruntime

        return f"ONNX Runtime {onnxruntime.__version__} as installed"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs."""
        return tuple(_spec(value) for value in self._session.get_inputs())

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run once: input name to array, output name to array."""
        values = self._session.run(self._output_names, dict(inputs))
        return dict(zip(self._output_names, values, strict=True))

    def close(self) -> None:
        """Let go of the model."""
        del self._session


def model_files(path: Path) -> tuple[Path, ...]:
    """A model file and the external data files that its initialisers name, each once.

    Raises:
        InvalidInputError: If the file is not an ONNX model, or a data file is missing.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's decode error, or the system's
        raise InvalidInputError(f"{path} is not a readable ONNX model; export it again") from error
    locations = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    data = tuple(path.parent / location for location in sorted(locations))
    for file in data:
        if not file.is_file():
            raise InvalidInputError(f"{path} needs the data file {file}, which is missing; copy it along")
    return (path, *data)


_DTYPES = {"float": "float32", "double": "float64"}


def _spec(value: Any) -> TensorSpec:
    dtype = value.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
    return TensorSpec(value.name, np.dtype(_DTYPES.get(dtype, dtype)).name, shape)
