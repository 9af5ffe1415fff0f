"""Writes a target as the TOML that ``load_target`` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from blast_deploy.targets import Target


def encode(target: Target) -> bytes:
    """The TOML of a target; what is None is left out."""
    values = msgspec.to_builtins(target)
    return ("\n".join(_table("", values)).lstrip("\n") + "\n").encode()


def _table(name: str, values: Mapping[str, Any]) -> list[str]:
    """Lines of a table and of those in it."""
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items() if value is not None]
    if name and lines:
        lines = ["", f"[{name}]", *lines]
    for key, inner in tables.items():
        lines += _table(f"{name}.{_key(key)}" if name else _key(key), inner)
    return lines


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _value(key)


def _value(value: Any) -> str:
    """One value: TOML's strings, numbers and truths are JSON's."""
    if isinstance(value, float) and "e" in repr(value) and "." not in repr(value):
        return repr(value).replace("e", ".0e")
    # DEL is the one character that JSON leaves bare and TOML does not.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
