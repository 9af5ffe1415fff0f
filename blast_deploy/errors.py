"""What can go wrong, as one sentence: what was wrong, the limit, the remedy."""

from __future__ import annotations


class BlastDeployError(Exception):
    """Base of every error a caller can mend; the command line prints it and exits with 2."""


class InvalidInputError(BlastDeployError):
    """An argument, file or model is not what the stage can take."""


class OutputExistsError(BlastDeployError):
    """The output is there already and may not be replaced without ``force``."""


class DiskFullError(BlastDeployError):
    """An output does not fit on its disk; what is needed to go on later may be kept."""

    def __init__(self, output: object) -> None:
        super().__init__(
            f"the disk is full, so {output} could not be written; free some space or choose another output"
        )


class MissingExtraError(BlastDeployError):
    """An optional part of the installation is needed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed, and this needs it; run: pip install 'blast-deploy[{extra}]'"
        )


class UnsupportedMachineError(BlastDeployError):
    """This machine or runtime lacks what an artifact or target was made for."""
