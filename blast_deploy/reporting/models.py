"""The models that a report compares: what is known of each one's size, quality and speed, joined by path."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from blast_deploy.artifact import Artifact
from blast_deploy.reporting.documents import Documents
from blast_deploy.results import Contender

FIDELITY = "1 - relative error to the dense original"


@dataclass
class Model:
    """One model in the report.

    Attributes:
        name: As in the benchmarks, or the end of its path.
        path: The artifact's folder or the model file.
        series: Place among the models, which decides its colour: 0 for the first.
        parameters: Stored parameters of the whole model; None where no artifact says.
        kept: Parameters of the structured layers as a fraction of their dense ones.
        deployed_bytes: Model and weights files together.
        quality: Measure of the task to value.
        fidelity: 1 - relative error to the dense original in float64, of the worst output.
        latency: Benchmark shape to median milliseconds, of the run with the fewest threads.
        memory: The largest private memory over the benchmark's shapes, in MiB.
    """

    name: str
    path: Path
    series: int
    parameters: int | None = None
    kept: float | None = None
    deployed_bytes: int | None = None
    quality: dict[str, float] = field(default_factory=dict)
    fidelity: float | None = None
    latency: dict[str, float] = field(default_factory=dict)
    memory: float | None = None


class Models:
    """All models of the documents."""

    def __init__(self, documents: Documents) -> None:
        self._models: dict[Path, Model] = {}
        for benchmark in sorted(documents.benchmarks, key=lambda result: result.threads):
            for contender in benchmark.contenders:
                self._add_timing(contender)
        for artifact in documents.artifacts:
            self._add_artifact(artifact)
        for verification in documents.verifications:
            if verification.compression_loss:
                worst = max(verification.compression_loss.values())
                for model in self._same_weights(documents, verification.artifact):
                    model.fidelity = 1.0 - worst
        for quality in documents.qualities:
            original = self._at(quality.original)
            original.quality = {metric.name: metric.original for metric in quality.metrics}
            original.parameters = _dense_parameters(documents, quality.subject)
            original.kept, original.fidelity = 1.0, 1.0
            for model in self._same_weights(documents, quality.subject):
                model.quality = {metric.name: metric.value for metric in quality.metrics}

    def all(self) -> list[Model]:
        """The models in the order in which they were met."""
        return list(self._models.values())

    def named(self, contender: str) -> Model:
        """The model that a benchmark calls so."""
        return next(model for model in self._models.values() if model.name == contender)

    def measure(self) -> str | None:
        """What a plot of quality should show: the task's own measure, or else the fidelity, if known."""
        for model in self._models.values():
            if model.quality:
                return next(iter(model.quality))
        return FIDELITY if any(model.fidelity is not None for model in self._models.values()) else None

    def _at(self, path: Path, name: str | None = None) -> Model:
        key = path.resolve()
        if key not in self._models:
            self._models[key] = Model(name or path.name, path, series=len(self._models))
        return self._models[key]

    def _add_timing(self, contender: Contender) -> None:
        model = self._at(contender.path, contender.name)
        model.latency.setdefault(shape_text(contender.shape), contender.median_ms)
        model.deployed_bytes = contender.bytes_on_disk
        if contender.private_memory_mb is not None:
            model.memory = max(model.memory or 0.0, contender.private_memory_mb)

    def _add_artifact(self, artifact: Artifact) -> None:
        manifest = artifact.manifest
        self._at(artifact.path).deployed_bytes = manifest.deployed_bytes
        dense = sum(layer.out_features * layer.in_features for layer in manifest.layers)
        stored = sum(layer.parameters for layer in manifest.layers)
        for model in self._tied(artifact):
            model.parameters = manifest.size.parameters
            model.kept = stored / dense if dense else 1.0

    def _tied(self, artifact: Artifact) -> list[Model]:
        """An artifact's model and the portable file it was compiled from, which hold the same weights."""
        source = artifact.manifest.source.name
        portable = [model for path, model in self._models.items() if path.name == source]
        return [self._at(artifact.path), *(portable if len(portable) == 1 else [])]

    def _same_weights(self, documents: Documents, path: Path) -> list[Model]:
        for artifact in documents.artifacts:
            if artifact.path.resolve() == path.resolve():
                return self._tied(artifact)
        return [self._at(path)]


def quality_of(model: Model, measure: str) -> float | None:
    """A model's value of a measure that ``Models.measure`` named; None where it is not known."""
    return model.fidelity if measure == FIDELITY else model.quality.get(measure)


def shape_text(shape: dict[str, int]) -> str:
    """Write a benchmark's shape for readers: ``batch 1, sequence 16``."""
    return ", ".join(f"{axis} {size}" for axis, size in shape.items()) or "fixed shape"


def _dense_parameters(documents: Documents, subject: Path) -> int | None:
    for artifact in documents.artifacts:
        if artifact.path.resolve() == subject.resolve():
            return artifact.manifest.dense_size.parameters
    return None
