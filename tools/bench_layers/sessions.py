"""ONNX Runtime sessions as contenders: each run takes the next session, on rows that stay where they are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from blast_deploy import native
from blast_deploy.bench.timing import Call

Array = NDArray[Any]


def open_session(model: onnx.ModelProto, threads: int = 1) -> ort.InferenceSession:
    """A session with the operator library, of a model whose layers all read ``X``."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that go on spinning after a run would take their CPU from the next contender.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.register_custom_ops_library(str(native.library_path()))
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def in_turns(sessions: Sequence[ort.InferenceSession]) -> Callable[[Array], Call]:
    """What makes runs on float32 rows (rows, in_features): each runs the next session, in one memory."""

    def prepare(x: Array) -> Call:
        # The layers share their output, as those of a model reuse their buffers.
        width = sessions[0].get_outputs()[0].shape[-1]
        y = np.empty((x.shape[0], width), np.float32)
        bound = itertools.cycle([(session, _bind(session, x, y)) for session in sessions])

        def call() -> tuple[Array, Array]:
            session, binding = next(bound)
            session.run_with_iobinding(binding)
            return x, y

        return call

    return prepare


def _bind(session: ort.InferenceSession, x: Array, y: Array) -> ort.IOBinding:
    binding = session.io_binding()
    binding.bind_cpu_input("X", x)
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu", 0, np.float32, list(y.shape), y.ctypes.data)
    return binding
