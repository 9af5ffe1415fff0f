"""What a reader of files that a stranger may have made must do with any bytes at all.

It gives something valid or raises one of the package's errors: one sentence that names the file. No other
exception, no more than ``MEMORY`` bytes, no more than ``SECONDS``, and nothing written.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from damage import damage_bytes
from decisions import Decisions

from blast_deploy.errors import BlastDeployError

MEMORY = 2**30
SECONDS = 60
Damage = Callable[[bytes, Decisions], bytes]


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        file: Name of the file in the folder that ``folder`` makes.
        folder: Makes the rest of the folder, once.
        read: Reads the file and checks that what it gives is valid.
        damage: Knows the file's format; bytes are damaged in any case.
    """

    file: str
    folder: Callable[[], Path]
    read: Callable[[Path], object]
    damage: Damage

    @property
    def path(self) -> Path:
        """The file that is damaged."""
        return self.folder() / self.file

    def valid(self) -> bytes:
        """What the file holds before anything is damaged."""
        return _valid(self.path)

    def damaged(self, content: bytes, decisions: Decisions) -> bytes:
        """Damage the file's content once, in the way of its format or by its bytes."""
        if decisions.below(3) == 0:
            return damage_bytes(content, decisions)
        try:
            return self.damage(content, decisions)
        except (ValueError, RecursionError):  # it cannot be read as its format any more
            return damage_bytes(content, decisions)

    def judge(self, content: bytes) -> bool:
        """Read some bytes under all the conditions above; returns whether they were taken."""
        valid, path = self.valid(), self.path
        before = _listing(path.parent)
        path.write_bytes(content)
        try:
            with bounded():
                self.read(path)
        except BlastDeployError as error:
            _check_refusal(str(error), path)
            return False
        finally:
            path.write_bytes(valid)
            assert _listing(path.parent) == before, "reading wrote something"
        return True


def _check_refusal(sentence: str, path: Path) -> None:
    check_sentence(sentence)
    assert path.name in sentence or str(path.parent) in sentence, f"{path.name} is not named: {sentence}"


def check_sentence(sentence: str) -> None:
    """Refuse an error that is no one line which a terminal can show."""
    assert sentence.strip(), "the error says nothing"
    assert sentence.isprintable(), f"no line to print: {sentence!r}"
    assert len(sentence) < 2000, f"{len(sentence)} characters: {sentence[:300]}"


@contextmanager
def bounded() -> Iterator[None]:
    """Raise where the block takes too much memory or time."""

    def late(*_: object) -> None:
        raise AssertionError(f"still reading after {SECONDS} s")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    previous = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _listing(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


@cache
def _valid(path: Path) -> bytes:
    return path.read_bytes()
