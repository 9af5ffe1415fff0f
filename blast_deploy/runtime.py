"""ONNX Runtime as installed: whether it is new enough, and sessions in it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from blast_deploy.errors import UnsupportedMachineError

OLDEST = "1.18"
"""The first that reads IR 10 and has the entry points that the operator library calls."""
CPU = "CPUExecutionProvider"

_FUSION = "MatmulTransposeFusion"
_FUSED = "FusedMatMul"


def release(version: str) -> tuple[int, int]:
    """Major and minor number of a runtime's version."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def obstacle() -> str | None:
    """Why the models of this tool cannot run in what is installed; None when they can."""
    reason = import_obstacle()
    if reason is not None:
        return reason
    import onnxruntime

    found = onnxruntime.__version__
    if release(found) >= release(OLDEST):
        return None
    return f"onnxruntime {OLDEST} or newer is needed (found {found}); run: pip install --upgrade onnxruntime"


def import_obstacle() -> str | None:
    """Why what is installed cannot even be imported; None when it can."""
    if find_spec("onnxruntime") is None:
        return "onnxruntime is not installed; run: pip install onnxruntime"
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        return f"onnxruntime cannot be imported ({error}); releases before 1.19 need: pip install 'numpy<2'"
    return None


def check() -> None:
    """Refuse a runtime that cannot run the models of this tool.

    Raises:
        UnsupportedMachineError: If it is missing or too old.
    """
    reason = obstacle()
    if reason is not None:
        raise UnsupportedMachineError(reason)


def open_session(model: Path | bytes, options: Any) -> Any:
    """Make a session on the CPU.

    Up to 1.25 the runtime fuses Transpose into a MatMul of float64 as well, and then finds that it has no
    such kernel; there it is asked once more, without that fusion.

    Args:
        model: A file, or a serialised model.
        options: An ``onnxruntime.SessionOptions``.

    Raises:
        UnsupportedMachineError: If the runtime is missing or too old.
        Exception: What the runtime raises for a model that it refuses; its types share no public base.
    """
    check()
    import onnxruntime

    source = str(model) if isinstance(model, Path) else model
    try:
        return onnxruntime.InferenceSession(source, options, providers=[CPU])
    except Exception as error:
        if _FUSED not in str(error):
            raise
    return onnxruntime.InferenceSession(source, options, providers=[CPU], disabled_optimizers=[_FUSION])
