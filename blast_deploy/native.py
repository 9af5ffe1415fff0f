"""Finds the operator library."""

from __future__ import annotations

import os
from pathlib import Path

from blast_deploy.errors import InvalidInputError, UnsupportedMachineError

LIBRARY_VARIABLE = "BLAST_DEPLOY_LIBRARY"
"""Environment variable that names another operator library, such as a sanitized build."""


def library_path() -> Path:
    """Path of the operator library, for ``SessionOptions.register_custom_ops_library``.

    Raises:
        InvalidInputError: If ``BLAST_DEPLOY_LIBRARY`` names a file that is not there.
        UnsupportedMachineError: If the package was installed without its library.
    """
    override = os.environ.get(LIBRARY_VARIABLE)
    if override:
        if not Path(override).is_file():
            raise InvalidInputError(f"{LIBRARY_VARIABLE} names {override}, which is not a file; unset or mend it")
        return Path(override).resolve()
    try:
        from blast_deploy import _native  # imported here: this is what rebuilds an editable install
    except ImportError:
        raise UnsupportedMachineError(
            "the operator library is not built for this installation; install the package with pip install ."
        ) from None
    path = Path(_native.__file__).with_name(_native.LIBRARY_FILE)
    if not path.is_file():
        raise UnsupportedMachineError(f"the operator library is missing at {path}; reinstall the package")
    return path
