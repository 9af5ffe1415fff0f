"""What can go wrong, as one sentence: what was wrong, the limit, the remedy."""

from __future__ import annotations

LONGEST = 1000


class BlastDeployError(Exception):
    """Base of every error a caller can mend; the command line prints it and exits with 2.

    A message may quote names and words out of a stranger's file: it is one line of at most ``LONGEST``
    characters, and what could command a terminal is written as an escape.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_shortened(_one_line(message)))


def _one_line(text: str) -> str:
    """The text without line breaks, and with an escape for every character that cannot be printed."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in " ".join(text.splitlines())
    )


def _shortened(text: str) -> str:
    """The text with the middle left out if it is too long; the remedy stands at its end."""
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST // 2]} ... {text[-LONGEST // 4 :]}"


class InvalidInputError(BlastDeployError):
    """An argument, file or model is not what the stage can take."""


class OutputExistsError(BlastDeployError):
    """The output is there already and may not be replaced without ``force``."""


class DiskFullError(BlastDeployError):
    """An output does not fit on its disk; what is needed to go on later may be kept."""

    def __init__(self, output: object, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}, so {output} could not be written; {remedy}")


class MissingExtraError(BlastDeployError):
    """An optional part of the installation is needed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed, and this needs it; run: pip install 'blast-deploy[{extra}]'"
        )


class UnsupportedMachineError(BlastDeployError):
    """This machine or runtime lacks what an artifact or target was made for."""
