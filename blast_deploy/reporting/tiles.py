"""The few figures at the head of the page."""

from __future__ import annotations

from dataclasses import dataclass

from blast_deploy.reporting import formats
from blast_deploy.reporting.documents import Documents
from blast_deploy.reporting.models import Models, quality_of, shape_text
from blast_deploy.results import BenchmarkResult


@dataclass(frozen=True)
class Tile:
    """One figure in large type.

    Attributes:
        label: What it is.
        value: The figure.
        note: What it rests on, in a few words.
        tone: CSS class of the value: a verdict, a word for a ratio, or empty.
    """

    label: str
    value: str
    note: str
    tone: str = ""


def summary_tiles(documents: Documents, models: Models) -> list[Tile]:
    """Verdict, size, quality and speed, as far as they are known."""
    tiles = [
        Tile("Verification", item.verdict, item.artifact.name, item.verdict)
        for item in documents.verifications
    ]
    for artifact in documents.artifacts:
        manifest = artifact.manifest
        dense = sum(layer.out_features * layer.in_features for layer in manifest.layers)
        if dense:
            kept = sum(layer.parameters for layer in manifest.layers) / dense
            note = f"{len(manifest.layers)} structured layers of {artifact.path.name}"
            tiles.append(Tile("Parameters kept", formats.write_percent(kept), note))
    measure = models.measure()
    for model in models.all():
        value = quality_of(model, measure) if measure else None
        if measure and value is not None and value != 1.0:
            tiles.append(Tile("Quality", formats.write_decimal(value), f"{measure}, {model.name}"))
            break
    judged = [benchmark for benchmark in documents.benchmarks if benchmark.judged]
    if judged:
        tiles += _speed_tiles(min(judged, key=lambda benchmark: benchmark.threads))
    return tiles


def _speed_tiles(benchmark: BenchmarkResult) -> list[Tile]:
    """One tile for each shape: the ratio to the first baseline."""
    if not benchmark.ratios:
        return []
    baseline = benchmark.ratios[0].baseline
    threads = "1 thread" if benchmark.threads == 1 else f"{benchmark.threads} threads"
    return [
        Tile(
            f"Speed, {shape_text(ratio.shape)}",
            f"{ratio.median:.2f}×",
            f"{ratio.word}, against {baseline}, {threads}",
            ratio.word.replace(" ", "-"),
        )
        for ratio in benchmark.ratios
        if ratio.baseline == baseline
    ]
