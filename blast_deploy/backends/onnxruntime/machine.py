"""What the operator library and this machine offer."""

from __future__ import annotations

from blast_deploy import native
from blast_deploy.backends.onnxruntime.options import Options
from blast_deploy.errors import BlastDeployError, UnsupportedMachineError


def library_obstacle() -> str | None:
    """Why the operator library cannot be used here; None when it can."""
    try:
        native.Library()
    except BlastDeployError as error:
        return str(error)
    return None


def instruction_set_obstacle(needed: str) -> str | None:
    """Why kernels of an instruction set cannot run here; None when they can."""
    available = native.Library().instruction_sets()
    if needed in available:
        return None
    return f"this machine lacks {needed} (it has {', '.join(available)})"


def resolve_instruction_set(options: Options) -> str:
    """The instruction set that artifacts promise: ``native`` is this machine's best.

    Raises:
        UnsupportedMachineError: If the library has no kernels for this machine.
    """
    if options.instruction_set != "native":
        return options.instruction_set
    available = native.Library().instruction_sets()
    if not available:
        raise UnsupportedMachineError(
            "the operator library has no kernels for this machine; use target cpu-stock"
        )
    return available[0]
