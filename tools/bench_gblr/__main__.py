"""Times the packed GBLR kernel against ONNX Runtime's dense fp32 product on one thread; writes ``gblr.json``.

Up to 3 rows, layers with weights of their own follow each other until each contender has read twice the last
cache; with more rows a layer runs again and again. Efficiency is the speed-up over the ideal one, dense
parameters over those of the structure.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from blast_deploy.bench import statistics, timing
from blast_deploy.bench.clock import THREAD_CPU
from blast_deploy.bench.load import load_now
from blast_deploy.bench.machine import describe_machine
from blast_deploy.native import Library
from blast_deploy.structures import contract
from blast_deploy.structures.gblr import packing
from tools.bench_gblr.structures import RATIOS, SIZES, Structure, learned, synthetic
from tools.bench_layers import models
from tools.bench_layers.contenders import GROUP, PAST_THE_CACHES, last_cache_bytes
from tools.bench_layers.measure import repeated
from tools.bench_layers.sessions import in_turns, open_session

ROWS = (1, 16, 64, 512)
MOST_COLD_ROWS = 3
RUNS_UNTIL_STEADY = 64
"""Runs in which the operator may still cut its work for threads that the session lacks."""
TOLERANCE = 1e-4


def main() -> None:
    """Time what was asked for and write it down."""
    arguments = _parse()
    structures = [synthetic(*size, ratio) for size in arguments.sizes for ratio in RATIOS]
    if arguments.learned is not None:
        structures = [learned(path) for path in sorted(arguments.learned.glob("*.npz"))]
    before, cells = load_now(), []
    for structure in structures:
        for cell in time_structure(structure, arguments.rows, arguments.rounds):
            cells.append(cell)
            print(", ".join(f"{key} {value}" for key, value in cell.items()), flush=True)
    record = {
        "machine": describe_machine(),
        "method": f"{THREAD_CPU.name}, one thread, interleaved",
        "other_load": [before, load_now()],
        "results": cells,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "gblr.json").write_text(json.dumps(record, indent=2) + "\n")


def time_structure(structure: Structure, rows: list[int], rounds: int) -> Iterator[dict[str, Any]]:
    """Time both contenders, having checked that they agree."""
    for count in rows:
        dense, kernel = (_sessions(structure, make, count) for make in (_dense_model, _kernel_model))
        x = np.random.default_rng(1).standard_normal((count, structure.matrix.in_features), np.float32)
        _check(dense[0], kernel[0], x)
        calls, layers = {}, {}
        for session in kernel * RUNS_UNTIL_STEADY:
            session.run(None, {"X": x})
        for name, sessions in (("dense", dense), ("kernel", kernel)):
            calls[name], runs = repeated(in_turns(sessions)(x), THREAD_CPU)
            layers[name] = runs * len(sessions[0].get_outputs())
        timings = timing.interleave(calls, THREAD_CPU, rounds=rounds)
        times = {name: timings[name].round_medians * 1000 / layers[name] for name in calls}
        ratio = statistics.bootstrap_ratio(times["dense"], times["kernel"])
        yield {
            "structure": structure.name,
            "rows": count,
            "dense_us": round(float(np.median(times["dense"])), 2),
            "kernel_us": round(float(np.median(times["kernel"])), 2),
            "speedup": round(ratio.median, 3),
            "ci95": (round(ratio.low, 3), round(ratio.high, 3)),
            "ideal": round(structure.ideal, 3),
            "efficiency": round(ratio.median / structure.ideal, 3),
            "doubts": list(timing.doubts(timings, THREAD_CPU)),
        }


def _sessions(structure: Structure, make: Callable[..., tuple[onnx.ModelProto, int]], rows: int) -> list[Any]:
    """Sessions of a few layers each; together, cold, they read twice the last cache."""
    model, layer_bytes = make(structure, 1)
    if rows > MOST_COLD_ROWS:
        return [open_session(model)]
    sessions = math.ceil(PAST_THE_CACHES * last_cache_bytes() / layer_bytes / GROUP)
    group, _ = make(structure, GROUP)
    return [open_session(group) for _ in range(sessions)]


def _dense_model(structure: Structure, count: int) -> tuple[onnx.ModelProto, int]:
    weights = [matrix.dense().astype(np.float32) for matrix in structure.copies(count)]
    return models.matmul_model(weights), weights[0].nbytes


def _kernel_model(structure: Structure, count: int) -> tuple[onnx.ModelProto, int]:
    packed = [packing.pack(matrix) for matrix in structure.copies(count)]
    matrix = structure.matrix
    attributes = {
        "components": matrix.components,
        "layout_version": packing.LAYOUT_VERSION,
        "instruction_set": Library().instruction_sets()[0],
    }
    sizes = (matrix.out_features, matrix.in_features)
    tensors = [{"factors": each} for each in packed]
    return models.make_model(contract.GBLR_LINEAR_PACKED.name, tensors, sizes, attributes), packed[0].nbytes


def _check(dense: Any, kernel: Any, x: Any) -> None:
    expected, found = (session.run(["Y0"], {"X": x})[0] for session in (dense, kernel))
    error = np.abs(found - expected).max() / np.abs(expected).max()
    if not error <= TOLERANCE:
        raise SystemExit(f"the kernel is off by {error:.3g} of the greatest value; nothing was timed")


def _size(text: str) -> tuple[int, int]:
    out_features, in_features = map(int, text.split("x"))
    return out_features, in_features


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.bench_gblr", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder for the results")
    parser.add_argument("--learned", type=Path, help="folder of learned structures to time instead")
    parser.add_argument("--sizes", type=_size, nargs="+", default=SIZES, help="as 768x3072, rows of W first")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


if __name__ == "__main__":
    main()
