"""What the operator library and this machine offer."""

from __future__ import annotations

from collections.abc import Mapping

from blast_deploy import native
from blast_deploy.backends.onnxruntime.options import Options
from blast_deploy.errors import BlastDeployError, UnsupportedMachineError
from blast_deploy.structures.contract import KERNEL_OPERATORS


def library_obstacle() -> str | None:
    """Why the operator library cannot be used here; None when it can, with all that this tool needs of it."""
    return operators_obstacle({operator.name: operator.since_version for operator in KERNEL_OPERATORS})


def operators_obstacle(needed: Mapping[str, int]) -> str | None:
    """Why the operator library cannot compute some operators, asked of the library; None when it can.

    Args:
        needed: Operator type to the version of domain ``ai.blast`` that it must have. A library of a later
            version does not serve either: the version rises when the meaning changes.
    """
    try:
        library = native.Library()
        offered = library.operators()
    except BlastDeployError as error:
        return str(error)
    registered = {operator.name for operator in KERNEL_OPERATORS}
    for name, version in needed.items():
        if name not in registered:
            continue  # it runs as its function body
        if offered.get(name) != version:
            found = f"has version {offered[name]}" if name in offered else "has no such operator"
            return (
                f"operator {name} of version {version} is needed, and the operator library {library.path} "
                f"({library.version}) {found}"
            )
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
