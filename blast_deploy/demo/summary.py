"""The demo's table: the original in ONNX Runtime beside the compressed artifact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from blast_deploy.artifact import open_artifact
from blast_deploy.demo.run import DemoResult
from blast_deploy.results import BenchmarkResult, Contender

Row = tuple[str, str, str, str]
HEADERS = ("measure", ">original in ONNX Runtime", ">compressed artifact", "ratio, bound or interval")


def summary_rows(result: DemoResult) -> list[Row]:
    """Size, quality, deployment error, latency and memory: original, artifact, and how they compare."""
    return [*_sizes(result), *_quality(result), *_errors(result), *_speeds_and_memory(result)]


def _sizes(result: DemoResult) -> Iterator[Row]:
    manifest = open_artifact(result.compilation.path).manifest
    dense = result.compression.dense_parameters
    kept = result.compression.parameters
    layers = f"parameters of {len(result.compression.layers)} linear layers"
    yield layers, f"{dense:,}", f"{kept:,}", f"{kept / dense:.1%} kept"
    whole = manifest.dense_size.parameters, manifest.size.parameters
    yield "parameters of the model", f"{whole[0]:,}", f"{whole[1]:,}", f"{whole[1] / whole[0]:.1%}"
    before, after = result.dense.bytes, result.compilation.bytes
    yield "bytes deployed", f"{before / 1e6:.1f} MB", f"{after / 1e6:.1f} MB", f"{after / before:.1%}"


def _quality(result: DemoResult) -> Iterator[Row]:
    for metric in result.quality.metrics:
        yield metric.name, f"{metric.original:.3f}", f"{metric.value:.3f}", ""


def _errors(result: DemoResult) -> Iterator[Row]:
    verification = result.verification
    for output in verification.outputs:
        yield (
            f"deployment error of {output.subject}, RMS against float64",
            "",
            f"{output.rms_error:.1e}",
            f"bound {output.rms_bound:.1e}",
        )
    passed = sum(layer.verdict == "passed" for layer in verification.layers)
    layers = f"{passed} of {len(verification.layers)} layers passed"
    yield "verification", "", verification.verdict, layers


def _speeds_and_memory(result: DemoResult) -> Iterator[Row]:
    for benchmark in result.benchmarks:
        yield from _speed(benchmark, result.compilation.path, result.dense.path)
    yield from _memory(result.benchmarks[0], result.compilation.path, result.dense.path)


def _speed(benchmark: BenchmarkResult, artifact: Path, dense: Path) -> Iterator[Row]:
    threads = "1 thread" if benchmark.threads == 1 else f"{benchmark.threads} threads"
    own = _of(benchmark, artifact)
    originals = _of(benchmark, dense)
    for ours, original in zip(own, originals, strict=True):
        ratio = next(
            ratio
            for ratio in benchmark.ratios
            if ratio.shape == ours.shape and ratio.baseline == original.name
        )
        yield (
            f"{_tokens(ours)}, {threads}, {benchmark.clock}",
            f"{original.median_ms:.2f} ms",
            f"{ours.median_ms:.2f} ms",
            f"{ratio.median:.2f}x ({ratio.ci95[0]:.2f} to {ratio.ci95[1]:.2f}), {ratio.word}",
        )


def _memory(benchmark: BenchmarkResult, artifact: Path, dense: Path) -> Iterator[Row]:
    for ours, original in zip(_of(benchmark, artifact), _of(benchmark, dense), strict=True):
        for kind in ("private", "peak"):
            mine = getattr(ours, f"{kind}_memory_mb")
            theirs = getattr(original, f"{kind}_memory_mb")
            if mine is not None and theirs is not None:
                yield (
                    f"{_tokens(ours)}, {kind} memory",
                    f"{theirs:.0f} MiB",
                    f"{mine:.0f} MiB",
                    f"{mine / theirs:.1%}",
                )


def _tokens(contender: Contender) -> str:
    return " x ".join(map(str, contender.shape.values())) + " tokens"


def _of(benchmark: BenchmarkResult, path: Path) -> list[Contender]:
    return [contender for contender in benchmark.contenders if contender.path == path]
