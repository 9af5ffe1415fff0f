"""Backends by the name that targets give them, imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from blast_deploy.backends.contract import Backend
from blast_deploy.errors import InvalidInputError

_MODULES = {"onnxruntime": "blast_deploy.backends.onnxruntime.backend"}


def load_backend(name: str) -> Backend:
    """Import a backend.

    Raises:
        InvalidInputError: If there is none of that name.
    """
    if name not in _MODULES:
        raise InvalidInputError(f"there is no backend {name!r}; it must be one of {', '.join(_MODULES)}")
    return cast(Backend, import_module(_MODULES[name]))
