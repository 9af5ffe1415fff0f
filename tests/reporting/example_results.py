"""Results with known figures, as the stages would write them."""

from __future__ import annotations

from pathlib import Path

from blast_deploy.artifact import (
    MANIFEST,
    LayerRecord,
    Manifest,
    Operators,
    Size,
    Source,
    StoredFile,
    encode,
)
from blast_deploy.results import (
    BenchmarkResult,
    Comparison,
    CompressionResult,
    Contender,
    InspectedLayer,
    Inspection,
    LayerCompression,
    LayerPlan,
    Plan,
    QualityMetric,
    QualityResult,
    Ratio,
    TensorSpec,
    VerificationResult,
    to_json,
)
from blast_deploy.targets import load_target

SHAPES = ({"batch": 1, "sequence": 16}, {"batch": 8, "sequence": 128})

_LAYER = LayerRecord(
    name="layer.0",
    operator="BlastLinear",
    dtype="float32",
    out_features=8,
    in_features=6,
    description="2 x 3 blocks, rank 2",
    parameters=24,
)


def contender(path: Path, shape: dict[str, int], median: float, private: float | None = 30.0) -> Contender:
    return Contender(
        name=path.name,
        path=path,
        runtime="ONNX Runtime",
        shape=shape,
        median_ms=median,
        p50_ms=median,
        p90_ms=1.1 * median,
        p99_ms=1.3 * median,
        spread_ms=0.05 * median,
        runs=300,
        bytes_on_disk=90_000_000,
        peak_memory_mb=120.0,
        resident_memory_mb=100.0,
        private_memory_mb=private,
    )


def benchmark(folder: Path, *, reasons: tuple[str, ...] = (), threads: int = 1) -> BenchmarkResult:
    paths = [folder / name for name in ("artifact", "dense.onnx", "portable.onnx")]
    return BenchmarkResult(
        clock="thread CPU time" if threads == 1 else "wall time",
        threads=threads,
        machine={"processor": "a <b>fast</b> one & more"},
        load=0.25,
        judged=not reasons,
        reasons=reasons,
        contenders=tuple(
            contender(path, shape, time)
            for shape in SHAPES
            for path, time in zip(paths, (2.0, 5.0, 3.0), strict=True)
        ),
        ratios=tuple(
            Ratio("artifact", name, shape, ratio, (ratio - 0.1, ratio + 0.1), "faster")
            for shape in SHAPES
            for name, ratio in (("dense.onnx", 2.5), ("portable.onnx", 1.5))
        ),
    )


def verification(folder: Path) -> VerificationResult:
    output = Comparison("y<1>", "passed", "within bounds", 1.2e-6, 2.5e-6, 4e-6, 9e-6)
    layer = Comparison("layer.0", "failed", "not a number", float("nan"), float("nan"), 4e-6, 9e-6)
    return VerificationResult(
        artifact=folder / "artifact",
        verdict="failed",
        reasons=("layer.0 is <wrong>",),
        outputs=(output,),
        layers=(layer,),
        kernels={"layer.0": "BlastLinearPacked"},
        compression_loss={"y": 0.25},
        summary=("1 of 1 output within the bounds", "the runtime ran 1 layer by BlastLinearPacked"),
    )


def quality(folder: Path) -> QualityResult:
    metrics = (QualityMetric("mean cosine", 0.852, 1.0), QualityMetric("MRR", 0.342, 0.41))
    return QualityResult(folder / "artifact", folder / "dense.onnx", "On 500 pairs.", metrics)


def compression() -> CompressionResult:
    layer = LayerCompression("layer.0", 8, 6, (2, 3), 2, 40, 48, 0.4, 0.2, 1.5)
    return CompressionResult("blast", "activation", 0.5, 40, 48, 1.5, (layer,))


def inspection(folder: Path) -> Inspection:
    spec = TensorSpec("x", "float32", ("rows", 6))
    layer = InspectedLayer("layer.0", "BlastLinear", "float32", 8, 6, "2 x 3 blocks, rank 2", 24, 48)
    return Inspection(
        path=folder / "portable.onnx",
        kind="portable model",
        bytes=4096,
        dense_bytes=8192,
        parameters=1024,
        dense_parameters=2048,
        flops_per_row=None,
        dense_flops_per_row=None,
        inputs=(spec,),
        outputs=(spec,),
        layers=(layer,),
        facts={"producer": "pytorch"},
    )


def write_artifact(folder: Path) -> Path:
    """Write the manifest of an artifact whose one layer keeps 24 of 48 parameters."""
    path = folder / "artifact"
    path.mkdir(parents=True, exist_ok=True)
    plan = LayerPlan("layer.0", "BlastLinear", "kernel", "quickest", (), ())
    manifest = Manifest(
        format_version=1,
        tool="blast-deploy",
        libraries={},
        source=Source("portable.onnx", "0" * 64, 10),
        target=load_target("cpu-stock"),
        precision="fp32",
        operators=Operators({}, "ONNX Runtime", "1.20", None),
        inputs=(TensorSpec("x", "float32", ("rows", 6)),),
        outputs=(TensorSpec("y", "float32", ("rows", 8)),),
        axes={"rows": (1, 4)},
        size=Size(1024, 4096, 48),
        dense_size=Size(2048, 8192, 96),
        deployed_bytes=5000,
        layers=(_LAYER,),
        plan=Plan("cpu-stock", (1, 4), (plan,)),
        tolerance={},
        samples=0,
        files=(StoredFile("model.onnx", 1, "0" * 64, "model"),),
    )
    (path / MANIFEST).write_bytes(encode(manifest))
    return path


def write_all(folder: Path) -> list[Path]:
    """Write one of each, and the artifact; returns their paths."""
    written = [write_artifact(folder)]
    results = {
        "bench": benchmark(folder),
        "verify": verification(folder),
        "quality": quality(folder),
        "compress": compression(),
        "inspect": inspection(folder),
    }
    for name, result in results.items():
        path = folder / f"{name}.json"
        path.write_bytes(to_json(result))
        written.append(path)
    return written
