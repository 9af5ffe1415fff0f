"""What a target may set for this backend."""

from __future__ import annotations

from typing import Literal

import msgspec

from blast_deploy.errors import InvalidInputError
from blast_deploy.targets import Target

InstructionSet = Literal["native", "x86-64", "x86-64-v3", "x86-64-v4", "neon"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of an ONNX Runtime target.

    Attributes:
        operator_library: Whether the operator library computes the structured layers; without it the
            function bodies do, in plain ONNX Runtime.
        instruction_set: What the library's kernels may use; ``native`` is the best of the machine that
            compiles.
    """

    operator_library: bool = True
    instruction_set: InstructionSet = "native"


def options_of(target: Target) -> Options:
    """Read a target's options.

    Raises:
        InvalidInputError: If one is unknown, of a wrong type, or contradicts another.
    """
    try:
        options = msgspec.convert(target.options, Options)
    except msgspec.ValidationError as error:
        where = str(error).replace("`$.", "`options.")
        raise InvalidInputError(where if where != str(error) else f"{error} in `options`") from error
    if not options.operator_library and "instruction_set" in target.options:
        raise InvalidInputError(
            "`options.instruction_set` means nothing with operator_library = false; remove one"
        )
    return options
