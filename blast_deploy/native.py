"""Finds the operator library and calls what it offers beside ONNX Runtime's interface."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from blast_deploy.element_types import ONNX_NUMBERS
from blast_deploy.errors import InvalidInputError, UnsupportedMachineError

LIBRARY_VARIABLE = "BLAST_DEPLOY_LIBRARY"
"""Environment variable that names another operator library, such as a sanitized build."""

MAX_INSTRUCTION_SET_VARIABLE = "BLAST_DEPLOY_MAX_INSTRUCTION_SET"
"""Environment variable that caps the instruction set, such as ``x86-64-v3``; read when a kernel is made."""

_TEXT_SIZE = 1024


def library_path() -> Path:
    """Path of the operator library, for ``SessionOptions.register_custom_ops_library``.

    Raises:
        InvalidInputError: If ``BLAST_DEPLOY_LIBRARY`` names a file that is not there.
        UnsupportedMachineError: If the package was installed without its library.
    """
    override = os.environ.get(LIBRARY_VARIABLE)
    if override:
        if not Path(override).is_file():
            raise InvalidInputError(
                f"{LIBRARY_VARIABLE} names {override}, which is not a file; name a library or unset it"
            )
        return Path(override).resolve()
    try:
        from blast_deploy import _native  # imported here: this is what rebuilds an editable install
    except ImportError:
        raise UnsupportedMachineError(
            "the operator library is not built for this installation; run: pip install ."
        ) from None
    path = Path(_native.__file__).with_name(_native.LIBRARY_FILE)
    if not path.is_file():
        raise UnsupportedMachineError(f"the operator library is missing at {path}; run: pip install .")
    return path


def element_number(dtype: str) -> ctypes.c_int:
    """The number by which the library knows an element type.

    Raises:
        InvalidInputError: If there are no kernels for it.
    """
    if dtype not in ONNX_NUMBERS:
        raise InvalidInputError(f"there are no kernels for {dtype}; use one of {', '.join(ONNX_NUMBERS)}")
    return ctypes.c_int(ONNX_NUMBERS[dtype])


def address(array: NDArray[Any]) -> ctypes.c_void_p:
    """Where an array's values lie, for a call of the library; the caller keeps the array alive."""
    return ctypes.c_void_p(array.ctypes.data)


class Library:
    """The functions that the operator library exports for Python.

    Args:
        path: The library, or None for the installed one.

    Raises:
        UnsupportedMachineError: If it cannot be loaded on this machine.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = library_path() if path is None else path
        try:
            self._library = ctypes.CDLL(str(self.path))
            self._library.blast_deploy_version.restype = ctypes.c_char_p
        except (OSError, AttributeError) as error:
            raise UnsupportedMachineError(
                f"{self.path} is no operator library for this machine ({error}); run: pip install ."
            ) from error

    @property
    def version(self) -> str:
        """Version of the package that the library was built for."""
        text: bytes = self._library.blast_deploy_version()
        return text.decode()

    def instruction_sets(self) -> tuple[str, ...]:
        """Instruction sets that this machine can run, best first, such as ``("x86-64-v3", "x86-64")``.

        Raises:
            InvalidInputError: If ``BLAST_DEPLOY_MAX_INSTRUCTION_SET`` names none.
            UnsupportedMachineError: If the library is too old to tell.
        """
        return tuple(self._text("blast_deploy_instruction_sets").split(","))

    def operators(self) -> dict[str, int]:
        """What the library registers: operator type to its version of domain ``ai.blast``.

        Raises:
            UnsupportedMachineError: If the library is too old to tell, or what it tells cannot be read.
        """
        text = self._text("blast_deploy_operators")
        pairs = [entry.rpartition(" ") for entry in text.split(",") if entry]
        if not all(name and version.isdecimal() for name, _, version in pairs):
            raise UnsupportedMachineError(
                f"{self.path} lists its operators as {text!r}, which cannot be read; run: pip install ."
            )
        return {name: int(version) for name, _, version in pairs}

    def call(self, function: str, *arguments: Any) -> None:
        """Call an exported function whose last two parameters are a buffer for an error and its size.

        Raises:
            InvalidInputError: With the sentence that the library gave.
            UnsupportedMachineError: If the library is too old to have the function.
        """
        error = ctypes.create_string_buffer(_TEXT_SIZE)
        if self._exported(function)(*arguments, error, ctypes.c_size_t(_TEXT_SIZE)):
            raise InvalidInputError(error.value.decode())

    def _text(self, function: str) -> str:
        """Call an exported function that writes text into a buffer, or what was wrong."""
        text = ctypes.create_string_buffer(_TEXT_SIZE)
        if self._exported(function)(text, ctypes.c_size_t(_TEXT_SIZE)):
            raise InvalidInputError(text.value.decode())
        return text.value.decode(errors="replace")

    def _exported(self, function: str) -> Callable[..., int]:
        try:
            exported: Callable[..., int] = getattr(self._library, function)
        except AttributeError:
            raise UnsupportedMachineError(
                f"{self.path} is operator library {self.version}, which has no {function}; "
                f"install one of this version or unset {LIBRARY_VARIABLE}"
            ) from None
        return exported
