"""Times single layers and writes ``layers.json``, ``layers.md``, ``roofline.svg`` and ``roofline.png``.

Every layer is timed twice: ``warm``, where it runs again and again and its weights stay in the caches that
hold them, and ``cold``, where layers with weights of their own follow each other, as those of a model do,
until each contender has read twice the last cache. With ``--threads 2`` two threads are timed against one
instead, and ``scaling.json`` and ``scaling.md`` written.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from blast_deploy.bench.clock import clock_for
from blast_deploy.bench.load import load_now
from blast_deploy.bench.machine import describe_machine
from blast_deploy.bench.peaks import measure_peaks
from blast_deploy.results import MachinePeaks
from tools.bench_layers.contenders import NAMES, Caches, Name
from tools.bench_layers.layers import LAYERS, QUICK, QUICK_ROWS, ROWS, Layer
from tools.bench_layers.measure import call_overhead_us, time_layer, time_scaling
from tools.bench_layers.results import Cell, Scaling
from tools.bench_layers.roofline import draw
from tools.bench_layers.table import markdown, progress_line

SCALED: tuple[Name, ...] = ("kernel", "dense twin", "ORT dense")
SCALED_LAYERS = LAYERS[:8]
SCALED_ROWS = (1, 64, 512)
SCALED_ROUNDS = 50


def main() -> None:
    """Time what was asked for and write it down."""
    arguments = _parse()
    scaling = arguments.threads == 2
    all_layers = QUICK if arguments.quick else SCALED_LAYERS if scaling else LAYERS
    layers = _chosen(all_layers, arguments.layers)
    arguments.output.mkdir(parents=True, exist_ok=True)
    peaks = measure_peaks()
    record: dict[str, Any] = {
        "machine": describe_machine(),
        "peaks": msgspec.to_builtins(peaks),
        "other_load_before": load_now(),
    }
    time = _scale if scaling else _compare
    time(layers, arguments, record, peaks)


def _compare(
    layers: Sequence[Layer], arguments: argparse.Namespace, record: dict[str, Any], peaks: MachinePeaks
) -> None:
    """Contenders against each other, on one thread."""
    rows = arguments.rows or (QUICK_ROWS if arguments.quick else ROWS)
    states: tuple[Caches, ...] = ("warm", "cold") if arguments.caches == "both" else (arguments.caches,)
    names = [name for name in NAMES if name in arguments.contenders]
    record["method"] = f"{clock_for(1).name}, one thread, interleaved, {arguments.rounds} rounds"
    record["warm_call_overhead_us"] = call_overhead_us()
    cells: list[Cell] = []
    for layer in layers:
        for cell in time_layer(layer, rows, states, names, arguments.rounds, peaks):
            cells.append(cell)
            print(progress_line(cell), flush=True)
        # Written layer by layer, so that a run that is stopped leaves what it has.
        record["other_load_after"] = load_now()
        _write(arguments.output / "layers", record, cells, [], peaks)
    processor = record["machine"]["processor"]
    for suffix in (".svg", ".png"):
        draw(cells, peaks, (arguments.output / "roofline").with_suffix(suffix), processor)


def _scale(
    layers: Sequence[Layer], arguments: argparse.Namespace, record: dict[str, Any], peaks: MachinePeaks
) -> None:
    """Two threads against one."""
    record["method"] = f"{clock_for(2).name}, interleaved, least of at least {SCALED_ROUNDS} rounds"
    found: list[Scaling] = []
    for layer in layers:
        for item in time_scaling(layer, arguments.rows or SCALED_ROWS, SCALED, SCALED_ROUNDS):
            found.append(item)
            print(f"{item.layer}, {item.rows} rows, {item.contender}: {item.ratio:.2f}", flush=True)
        _write(arguments.output / "scaling", record, [], found, peaks)


def _write(
    path: Path,
    record: dict[str, Any],
    cells: Sequence[Cell],
    scalings: Sequence[Scaling],
    peaks: MachinePeaks,
) -> None:
    results = [*map(dataclasses.asdict, cells), *map(dataclasses.asdict, scalings)]
    path.with_suffix(".json").write_text(json.dumps({**record, "results": results}, indent=2) + "\n")
    path.with_suffix(".md").write_text(markdown(cells, scalings, record["machine"], peaks))


def _chosen(layers: Sequence[Layer], words: str) -> list[Layer]:
    chosen = [layer for layer in layers if words in layer.name]
    if not chosen:
        names = "; ".join(layer.name for layer in layers)
        raise SystemExit(f"no layer has {words!r} in its name; choose of: {names}")
    return chosen


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.bench_layers", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder for the results")
    parser.add_argument("--quick", action="store_true", help="a few layers and rows, under two minutes")
    parser.add_argument("--layers", default="", help="only layers whose name contains this")
    parser.add_argument("--rows", type=int, nargs="+")
    parser.add_argument("--caches", choices=("warm", "cold", "both"), default="both")
    parser.add_argument("--contenders", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--threads", type=int, choices=(1, 2), default=1)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    missing = {"kernel", "ORT dense"} - set(arguments.contenders)
    if missing:
        parser.error(f"the contenders must include {' and '.join(sorted(missing))}")
    return arguments


if __name__ == "__main__":
    main()
