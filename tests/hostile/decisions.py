"""Choices read from a string of bytes, so that hypothesis, a fuzzer and a file can make the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


class Decisions:
    """Reads choices off a string of bytes; when it is used up, every further choice is the first one."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._at = 0

    def below(self, limit: int) -> int:
        """A whole number from 0 to ``limit`` - 1."""
        if limit <= 1:
            return 0
        width = (limit.bit_length() + 7) // 8
        chunk = self._source[self._at : self._at + width]
        self._at += width
        return int.from_bytes(chunk, "little") % limit

    def pick(self, items: Sequence[Item]) -> Item:
        """One of several."""
        return items[self.below(len(items))]
