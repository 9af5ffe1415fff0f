"""An opened artifact: inputs in, outputs out, layer inputs and outputs on request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from blast_deploy.artifact import open_artifact
from blast_deploy.backends.registry import load_backend
from blast_deploy.errors import InvalidInputError
from blast_deploy.results import TensorSpec

Arrays = Mapping[str, NDArray[Any]]
Outputs = dict[str, NDArray[Any]]
FUNCTION_BODY = "function body"
"""What ``executed_operators`` says where standard operators stood in for a layer's own operator."""


class Tap(NamedTuple):
    """What entered a layer, what left its node, and the residual that was added on the way, if one was."""

    entered: NDArray[Any]
    left: NDArray[Any]
    residual: NDArray[Any] | None = None


Taps = dict[str, Tap]
"""Layer name to what was captured of it."""


MOST_THREADS = 1024
"""ONNX Runtime starts every thread at once; a million exhaust the memory and the process is killed."""


def open(path: str | Path, *, threads: int | None = None) -> Runner:
    """Open an artifact for running.

    Args:
        path: The folder that compile wrote.
        threads: Threads of the runtime; None leaves the choice to it.

    Raises:
        InvalidInputError: If it is no artifact or a damaged one, or ``threads`` is out of range.
        UnsupportedMachineError: If this machine or its runtime lacks what it was compiled for.
    """
    check_threads(threads)
    artifact = open_artifact(path)
    return load_backend(artifact.manifest.target.backend).open(artifact, threads)


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that no runtime can have; None leaves the choice to it.

    Raises:
        InvalidInputError: If it is below 1 or above ``MOST_THREADS``.
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise InvalidInputError(f"threads must be at least 1 and at most {MOST_THREADS} (got {threads})")


class Runner(ABC):
    """Runs one artifact.

    Attributes:
        inputs: What ``run`` takes, in order.
        outputs: What it gives, in order.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, inputs: Arrays) -> Outputs:
        """Run the model.

        Args:
            inputs: Input name to array, of the dtypes and shapes in ``inputs``.

        Returns:
            Output name to array.

        Raises:
            InvalidInputError: If an input is missing, unknown, or of another dtype or shape.
        """
        check_inputs(self.inputs, inputs)
        return self._run(inputs)

    def run_tapped(self, inputs: Arrays) -> tuple[Outputs, Taps]:
        """Run the model and capture what entered and left every structured layer; see ``run``."""
        check_inputs(self.inputs, inputs)
        return self._run_tapped(inputs)

    @abstractmethod
    def executed_operators(self) -> dict[str, str]:
        """What the runtime really ran for each structured layer.

        Returns:
            Layer name to operator type; ``FUNCTION_BODY`` where standard operators stood in for it; followed
            by where, if that is not where the target promises; a layer of which the runtime reports nothing
            is missing.
        """

    @abstractmethod
    def close(self) -> None:
        """Release what the runtime holds; the runner cannot be used afterwards."""

    @abstractmethod
    def _run(self, inputs: Arrays) -> Outputs: ...

    @abstractmethod
    def _run_tapped(self, inputs: Arrays) -> tuple[Outputs, Taps]: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def check_inputs(specs: tuple[TensorSpec, ...], inputs: Arrays) -> None:
    """Refuse inputs that the model cannot take, before the runtime sees them.

    Raises:
        InvalidInputError: Naming the input, what it has and what it must have.
    """
    known = {spec.name: spec for spec in specs}
    missing = [name for name in known if name not in inputs]
    extra = [name for name in inputs if name not in known]
    if missing:
        raise InvalidInputError(f"input {missing[0]!r} is missing; the model takes {', '.join(known)}")
    if extra:
        raise InvalidInputError(f"the model has no input {extra[0]!r}; it takes {', '.join(known)}")
    sizes: dict[str, tuple[int, str]] = {}
    for spec in specs:
        _check_input(spec, inputs[spec.name], sizes)


def _check_input(spec: TensorSpec, array: NDArray[Any], sizes: dict[str, tuple[int, str]]) -> None:
    if not isinstance(array, np.ndarray):
        raise InvalidInputError(f"input {spec.name!r} must be a NumPy array (got {type(array).__name__})")
    if array.dtype != np.dtype(spec.dtype):
        raise InvalidInputError(f"input {spec.name!r} must have dtype {spec.dtype} (got {array.dtype})")
    wanted = "(" + ", ".join(map(str, spec.shape)) + ")"
    if array.ndim != len(spec.shape):
        raise InvalidInputError(f"input {spec.name!r} must have shape {wanted} (got {array.shape})")
    for axis, size in zip(spec.shape, array.shape, strict=True):
        if isinstance(axis, int):
            if axis != size:
                raise InvalidInputError(f"input {spec.name!r} must have shape {wanted} (got {array.shape})")
            continue
        earlier, origin = sizes.setdefault(axis, (size, spec.name))
        if earlier != size:
            raise InvalidInputError(
                f"axis {axis!r} of input {spec.name!r} must be {earlier}, as in {origin!r} (got {size})"
            )
