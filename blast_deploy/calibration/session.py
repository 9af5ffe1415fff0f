"""Sessions on memory that stays in place, so that little but the operators is timed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from blast_deploy import native
from blast_deploy.bench.timing import Call


def bound_call(model: bytes, x: NDArray[np.float32], width: int, threads: int = 1) -> Call:
    """A call that runs a model on X.

    Args:
        model: One input X; outputs of as many rows as X.
        x: Float32 (rows, n).
        width: Columns of each output.
        threads: Of the runtime.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(native.library_path()))
    session = ort.InferenceSession(model, options)
    binding = session.io_binding()
    binding.bind_cpu_input("X", x)
    kept: list[NDArray[Any]] = [x]
    for output in session.get_outputs():
        y = np.empty((x.shape[0], width), np.float32)
        binding.bind_output(output.name, "cpu", 0, np.float32, list(y.shape), y.ctypes.data)
        kept.append(y)

    def call() -> list[NDArray[Any]]:
        session.run_with_iobinding(binding)
        return kept

    return call
