"""Times quantised layers on one thread, and writes ``quantised.json`` and ``quantised.md``.

Up to 8 rows, layers with weights of their own follow each other until each contender has read twice the
last cache; with more rows a layer runs again and again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from blast_deploy.bench import statistics, timing
from blast_deploy.bench.clock import THREAD_CPU
from blast_deploy.bench.load import load_now
from blast_deploy.bench.machine import describe_machine
from tools.bench_layers.contenders import Caches, Weights, last_cache_bytes
from tools.bench_layers.layers import Layer
from tools.bench_layers.measure import repeated
from tools.bench_quantised.contenders import NAMES, Contender, Name, check, copies_for, make
from tools.bench_quantised.goals import LAYERS, MOST_COLD_ROWS, QUICK, ROWS, goals
from tools.bench_quantised.results import Cell, Ratio, markdown

OURS: tuple[Name, ...] = ("int8 BLAST", "int4 BLAST")
TOLERANCES: dict[Name, float] = {"int8 BLAST": 0.025, "ORT dense fp32": 1e-5, "fp32 BLAST": 1e-5}
USUAL_TOLERANCE = 0.3
"""Of 4-bit contenders and twins on random weights; it tells a wrong layer from a coarse one."""


def main() -> None:
    """Time what was asked for and write it down."""
    arguments = _parse()
    layers = QUICK if arguments.quick else LAYERS
    arguments.output.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    record = {"machine": machine, "method": f"{THREAD_CPU.name}, one thread, interleaved"}
    cells: list[Cell] = []
    before = load_now()
    for layer in layers:
        for cell in time_layer(layer, arguments.rows, arguments.rounds):
            cells.append(cell)
            print(_progress(cell), flush=True)
        results = [dataclasses.asdict(item) for item in cells]
        whole = {**record, "other_load": [before, load_now()], "results": results}
        path = arguments.output / "quantised"
        path.with_suffix(".json").write_text(json.dumps(whole, indent=2) + "\n")
        path.with_suffix(".md").write_text(markdown(cells, machine))


def time_layer(layer: Layer, rows: Sequence[int], rounds: int) -> Iterator[Cell]:
    """Time all contenders on a layer; the models are made once for cold runs and once for warm ones."""
    weights = Weights.draw(layer)
    cold = [count for count in rows if count <= MOST_COLD_ROWS]
    by_state: dict[Caches, list[int]] = {"cold": cold, "warm": [each for each in rows if each not in cold]}
    for caches, counts in by_state.items():
        if not counts:
            continue
        last_cache = last_cache_bytes()
        made = [make(name, weights, copies_for(name, layer, caches, last_cache)) for name in NAMES]
        errors = {
            item.name: check(item, weights, TOLERANCES.get(item.name, USUAL_TOLERANCE)) for item in made
        }
        for count in counts:
            yield _cell(layer, count, caches, made, errors, rounds)


def _cell(
    layer: Layer,
    rows: int,
    caches: Caches,
    made: Sequence[Contender],
    errors: dict[Name, float],
    rounds: int,
) -> Cell:
    x = np.random.default_rng(1).standard_normal((rows, layer.in_features), np.float32)
    calls: dict[str, Callable[[], object]] = {}
    layers_of = {}
    for item in made:
        calls[item.name], runs = repeated(item.prepare(x), THREAD_CPU)
        layers_of[item.name] = runs * item.group
    timings = timing.interleave(calls, THREAD_CPU, rounds=rounds)
    times = {item.name: timings[item.name].round_medians * 1000 / layers_of[item.name] for item in made}
    aims = goals(rows)
    judged = {name for goal in aims for name in (goal.ours, goal.other)}
    doubts = timing.doubts({name: timings[name] for name in judged}, THREAD_CPU)
    ratios = []
    for ours in OURS:
        for other in NAMES:
            if other != ours:
                found = statistics.bootstrap_ratio(times[other], times[ours])
                ratios.append(Ratio(ours, other, found.median, (found.low, found.high)))
    medians = {name: float(np.median(each)) for name, each in times.items()}
    return Cell(layer.name, rows, caches, medians, errors, tuple(ratios), aims, doubts)


def _progress(cell: Cell) -> str:
    times = ", ".join(f"{name} {microseconds:.0f}" for name, microseconds in cell.microseconds.items())
    aims = ", ".join(
        f"{goal.ours} {cell.ratio(goal.ours, goal.other).median:.2f} of {goal.least} {goal.other}"
        for goal in cell.goals
    )
    return f"{cell.layer}, {cell.rows} rows, {cell.caches}, us: {times}; goals: {aims}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.bench_quantised", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder for the results")
    parser.add_argument("--quick", action="store_true", help="two layers only")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


if __name__ == "__main__":
    main()
