"""Who is timed: artifacts through their runner, model files in stock ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blast_deploy import reference, runner
from blast_deploy.artifact import Artifact, open_artifact
from blast_deploy.bench.baselines import StockOnnxRuntime, model_files
from blast_deploy.errors import InvalidInputError
from blast_deploy.model_paths import reference_path
from blast_deploy.reference import Arrays, Sample
from blast_deploy.results import TensorSpec

Outputs = Mapping[str, NDArray[Any]]


class OpenContender(Protocol):
    """Something that runs a model."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it takes."""

    def run(self, inputs: Arrays, /) -> Outputs:
        """Run once."""

    def close(self) -> None:
        """Let go of it."""


@dataclass(frozen=True)
class Source:
    """A contender on disk.

    Attributes:
        name: What the results call it.
        path: The artifact's folder, or the ``.onnx`` file.
        artifact: The artifact, or None for a model file.
    """

    name: str
    path: Path
    artifact: Artifact | None

    @property
    def runtime(self) -> str:
        """What runs it, in words."""
        if self.artifact is None:
            return "ONNX Runtime as installed"
        manifest = self.artifact.manifest
        return f"{manifest.operators.runtime} for {manifest.target.name}"

    @property
    def bytes_on_disk(self) -> int:
        """Size of what is deployed: model and weights, reference samples not counted."""
        if self.artifact is not None:
            return self.artifact.manifest.deployed_bytes
        return sum(file.stat().st_size for file in model_files(self.path))

    def open(self, threads: int) -> OpenContender:
        """Load it.

        Raises:
            InvalidInputError: If it is damaged or the runtime refuses it.
            UnsupportedMachineError: If this machine cannot run it.
        """
        if self.artifact is not None:
            return runner.open(self.path, threads=threads)
        return StockOnnxRuntime(self.path, threads)

    def samples(self) -> tuple[Sample, ...]:
        """The reference samples that belong to it; none where there are none."""
        if self.artifact is not None:
            return reference.load(self.artifact.samples).samples
        beside = reference_path(self.path)
        return reference.load(beside).samples if beside.is_file() else ()


def find_sources(paths: Sequence[str | Path]) -> tuple[Source, ...]:
    """Find contenders, and name each by the end of its path that tells it from the others.

    Args:
        paths: Artifact folders and ``.onnx`` files.

    Raises:
        InvalidInputError: If one is neither, or is given twice.
    """
    absolute = [Path(path).resolve() for path in paths]
    for path, count in Counter(absolute).items():
        if count > 1:
            raise InvalidInputError(f"{path} is given {count} times; name each contender once")
    return tuple(
        _source(Path(path), name) for path, name in zip(paths, _distinguishing(absolute), strict=True)
    )


def check_same_task(results: Mapping[str, Outputs], what: str) -> None:
    """Refuse contenders that do not compute the same thing as the first.

    Every output must be there, shaped as the first contender's, not empty, and finite.

    Args:
        results: Contender to its outputs for the same inputs.
        what: The inputs, in words.

    Raises:
        InvalidInputError: Naming the contender and the output.
    """
    first, expected = next(iter(results.items()))
    for name, outputs in results.items():
        if set(outputs) != set(expected):
            raise InvalidInputError(
                f"{name} gives {_listed(outputs)} and {first} gives {_listed(expected)}; "
                "only models of the same task can be compared"
            )
        for output, value in outputs.items():
            _check_output(f"output {output!r} of {name} for {what}", value, expected[output])


def _check_output(where: str, value: NDArray[Any], expected: NDArray[Any]) -> None:
    if value.shape != expected.shape:
        raise InvalidInputError(
            f"{where} has shape {value.shape}, not {expected.shape}; "
            "only models of the same task can be compared"
        )
    if value.size == 0:
        raise InvalidInputError(
            f"{where} is empty, so a time for it means nothing; give larger sizes in --shape"
        )
    if np.issubdtype(value.dtype, np.inexact) and not np.isfinite(value).all():
        raise InvalidInputError(f"{where} is not finite, so a time for it means nothing; verify the artifact")


def check_same_inputs(sources: Sequence[Source], opened: Sequence[OpenContender]) -> None:
    """Refuse contenders that take other inputs than the first.

    Raises:
        InvalidInputError: Naming the contender and what it takes.
    """
    expected = {spec.name: spec.dtype for spec in opened[0].inputs}
    for source, contender in zip(sources, opened, strict=True):
        takes = {spec.name: spec.dtype for spec in contender.inputs}
        if takes != expected:
            raise InvalidInputError(
                f"{source.name} takes {_listed(takes)} and {sources[0].name} takes {_listed(expected)}; "
                "only models with the same inputs can be compared"
            )


def _source(path: Path, name: str) -> Source:
    if path.is_dir():
        return Source(name, path, open_artifact(path))
    if not path.exists():
        raise InvalidInputError(f"{path} does not exist; give an artifact folder or an .onnx file")
    if path.suffix != ".onnx":
        raise InvalidInputError(f"{path} is neither an artifact folder nor an .onnx file; give one of them")
    return Source(name, path, None)


def _distinguishing(paths: Sequence[Path]) -> list[str]:
    """Shortest ends of the paths that are all different."""
    for length in range(1, max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _listed(names: Mapping[str, object]) -> str:
    described = (f"{name} ({value})" if isinstance(value, str) else name for name, value in names.items())
    return ", ".join(described) or "nothing"
