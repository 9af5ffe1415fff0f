"""Runs an artifact in ONNX Runtime."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from blast_deploy import reference
from blast_deploy.artifact import Artifact
from blast_deploy.backends.onnxruntime.nodes import (
    RanNode,
    find_nodes,
    operators_of,
    read_assignment,
    read_profile,
)
from blast_deploy.backends.onnxruntime.opening import check_machine, check_model
from blast_deploy.backends.onnxruntime.options import options_of
from blast_deploy.backends.onnxruntime.session import make_session
from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.taps import Taps as TapsPass
from blast_deploy.passes.taps import residual_tap_name, tap_names
from blast_deploy.runner import Arrays, Outputs, Runner, Tap, Taps
from blast_deploy.staging import scratch_folder
from blast_deploy.stock import first_line


class SessionRunner(Runner):
    """An artifact in ONNX Runtime: a session to run, or for as long as it is asked for, one that captures.

    There is one session at a time, because each may hold the dense weights in an order of its own. Threads
    may share a runner: whoever runs keeps the session that it was given, though another takes its place.
    """

    def __init__(self, artifact: Artifact, threads: int | None) -> None:
        """Open an artifact.

        Raises:
            UnsupportedMachineError: If the runtime is too old, or the machine lacks the instruction set.
            InvalidInputError: If the runtime refuses the model.
        """
        check_machine(artifact)
        self.inputs = artifact.manifest.inputs
        self.outputs = artifact.manifest.outputs
        self._artifact = artifact
        self._threads = threads
        check_model(artifact)
        self._closed = False
        self._lock = threading.Lock()
        self._opened: tuple[Any, bool] | None = (self._make(artifact.model), False)

    def executed_operators(self) -> dict[str, str]:
        """Ask the session that runs; where the runtime is too old to say, read a profile of a run."""
        ran = read_assignment(self._open(taps=False))
        if ran is None:
            ran = self._profiled()
        return operators_of(find_nodes(ir.load(self._artifact.model)), ran)

    def close(self) -> None:
        """Release the session."""
        with self._lock:
            self._opened, self._closed = None, True

    def _run(self, inputs: Arrays) -> Outputs:
        return _run(self._open(taps=False), inputs)

    def _run_tapped(self, inputs: Arrays) -> tuple[Outputs, Taps]:
        values = _run(self._open(taps=True), inputs)
        taps: Taps = {}
        for layer in self._artifact.manifest.layers:
            entering, leaving = tap_names(layer.name)
            if entering in values and leaving in values:
                residual = values.pop(residual_tap_name(layer.name), None)
                taps[layer.name] = Tap(values.pop(entering), values.pop(leaving), residual)
        return values, taps

    def _profiled(self) -> dict[str, RanNode]:
        """Run the first reference sample with profiling on, as ``run`` would."""
        sample = reference.load(self._artifact.samples).samples[0]
        with self._lock, scratch_folder() as folder:
            self._opened = None
            session = self._make(self._artifact.model, folder / "profile")
            _run(session, sample.inputs)
            return read_profile(Path(session.end_profiling()))

    def _open(self, *, taps: bool) -> Any:
        """The session that captures or the one that does not, in the place of the other."""
        with self._lock:
            if self._closed:
                raise InvalidInputError(
                    f"the runner of {self._artifact.path} is closed; open the artifact again"
                )
            opened = self._opened
            if opened is None or opened[1] != taps:
                opened = self._opened = None
                model = self._artifact.model
                opened = self._opened = (self._make(_tapped_model(model) if taps else model), taps)
            return opened[0]

    def _make(self, model: Path | bytes, profile_prefix: Path | None = None) -> Any:
        return make_session(
            model,
            folder=self._artifact.path,
            operator_library=options_of(self._artifact.manifest.target).operator_library,
            threads=self._threads,
            profile_prefix=profile_prefix,
        )


def _tapped_model(path: Path) -> bytes:
    """Serialise the model with every layer's input and output among its outputs, its weights left on disk."""
    model = ir.load(path)
    TapsPass()(model)
    serialised: bytes = ir.to_proto(model).SerializeToString()
    return serialised


def _run(session: Any, inputs: Arrays) -> Outputs:
    names = [output.name for output in session.get_outputs()]
    try:
        values = session.run(names, dict(inputs))
    except Exception as error:  # the runtime raises types of its own that share no public base
        raise InvalidInputError(f"ONNX Runtime cannot run these inputs ({first_line(error)})") from error
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
