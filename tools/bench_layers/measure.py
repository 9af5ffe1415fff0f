"""Takes the times of one layer: contenders interleaved, one thread's CPU time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from blast_deploy.bench import statistics, timing
from blast_deploy.bench.clock import THREAD_CPU, WALL, Clock
from blast_deploy.bench.load import LoadMeter
from blast_deploy.bench.peaks import MEMORY
from blast_deploy.results import MachinePeaks
from tools.bench_layers.contenders import Caches, Contender, Name, Weights, copies_for, make
from tools.bench_layers.layers import Layer, goal
from tools.bench_layers.results import Cell, Measurement, Scaling

CALL_NS = 1_000_000
"""Runs are repeated within one timed call to take at least about this long."""
JUDGED: tuple[Name, ...] = ("kernel", "ORT dense")
"""Contenders whose timings must be beyond doubt for a goal to be judged."""
QUIET = 0.2
"""CPUs' worth of other work under which two threads are judged."""


def time_layer(
    layer: Layer,
    rows: Sequence[int],
    caches: Sequence[Caches],
    names: Sequence[Name],
    rounds: int,
    peaks: MachinePeaks,
) -> Iterator[Cell]:
    """Time all contenders on a layer; the models are made once for all numbers of rows."""
    weights = Weights.draw(layer)
    last_cache = max(peaks.cache_bytes.values())
    for state in caches:
        contenders = [make(name, weights, copies_for(name, layer, state, last_cache)) for name in names]
        for count in rows:
            yield _cell(layer, count, state, contenders, rounds, peaks)


def time_scaling(layer: Layer, rows: Sequence[int], names: Sequence[Name], rounds: int) -> Iterator[Scaling]:
    """Time contenders on one thread and on two, by the least wall time of all rounds.

    Each number of rows is judged only where the rest of the machine was quiet meanwhile.
    """
    weights = Weights.draw(layer)
    made = {(name, threads): make(name, weights, 1, threads) for name in names for threads in (1, 2)}
    for count in rows:
        x = _rows(layer, count)
        calls, runs = {}, {}
        for (name, threads), contender in made.items():
            key = f"{name}, {threads}"
            calls[key], runs[key] = repeated(contender.prepare(x), WALL)
        meter = LoadMeter()
        meter.start()
        timings = timing.interleave(calls, WALL, rounds=rounds)
        meter.stop()
        least = {key: float(timings[key].runs.min()) * 1000 / runs[key] for key in calls}
        for name in names:
            one, two = least[f"{name}, 1"], least[f"{name}, 2"]
            quiet = meter.load is not None and meter.load < QUIET
            yield Scaling(layer.name, count, name, one, two, one / two, rounds, meter.load, quiet)


def call_overhead_us() -> float:
    """What ONNX Runtime takes to run a layer of one number: the part of each warm run that is no layer's."""
    tiny = Layer(1, 1, (1, 1), 1)
    call, runs = repeated(make("ORT dense", Weights.draw(tiny), 1).prepare(_rows(tiny, 1)), THREAD_CPU)
    timings = timing.interleave({"tiny": call}, THREAD_CPU, rounds=9)["tiny"]
    return float(np.median(timings.round_medians)) * 1000 / runs


def repeated(call: timing.Call, clock: Clock) -> tuple[timing.Call, int]:
    """The call repeated often enough to be timed well, and how often."""
    call()
    begun = clock.read_ns()
    call()
    repeats = max(1, round(CALL_NS / max(1, clock.read_ns() - begun)))
    return _repeat(call, repeats), repeats


def bandwidth_level(weight_bytes: int, caches: Caches, peaks: MachinePeaks) -> str:
    """Where weights lie: in memory when they are cold, else in the smallest cache that holds them."""
    if caches == "cold":
        return MEMORY
    return next((level for level, size in peaks.cache_bytes.items() if weight_bytes <= size), MEMORY)


def _cell(
    layer: Layer,
    rows: int,
    caches: Caches,
    contenders: Sequence[Contender],
    rounds: int,
    peaks: MachinePeaks,
) -> Cell:
    x = _rows(layer, rows)
    calls: dict[str, Callable[[], object]] = {}
    layers = {}
    for contender in contenders:
        calls[contender.name], runs = repeated(contender.prepare(x), THREAD_CPU)
        layers[contender.name] = runs * contender.group
    timings = timing.interleave(calls, THREAD_CPU, rounds=rounds)
    doubts = timing.doubts({name: timings[name] for name in JUDGED}, THREAD_CPU)
    per_layer = {name: timings[name].round_medians * 1000 / layers[name] for name in layers}
    measured = tuple(
        _measurement(item, per_layer[item.name], per_layer["kernel"], rows, caches, peaks)
        for item in contenders
    )
    aim = goal(rows, layer.kept)
    reached = next((item.ratio >= aim for item in measured if item.contender == "ORT dense"), None)
    met = None if doubts else reached
    return Cell(layer.name, rows, caches, layer.kept, aim, met, doubts, measured)


def _measurement(
    contender: Contender,
    times_us: np.ndarray,
    kernel_us: np.ndarray,
    rows: int,
    caches: Caches,
    peaks: MachinePeaks,
) -> Measurement:
    median = float(np.median(times_us))
    ratio = statistics.bootstrap_ratio(times_us, kernel_us)
    # Two operations a row for each weight of 4 bytes.
    gflops = 1e-3 * contender.weight_bytes / 2 * rows / median
    rate = 1e-3 * contender.weight_bytes / median
    level = bandwidth_level(contender.weight_bytes, caches, peaks)
    return Measurement(
        contender=contender.name,
        median_us=median,
        gflops=gflops,
        peak_share=gflops / max(peaks.gigaflops.values()),
        gigabytes_per_second=rate,
        bandwidth_share=rate / peaks.gigabytes_per_second[level],
        bandwidth_level=level,
        copies=contender.copies,
        rotated_bytes=contender.copies * contender.weight_bytes,
        ratio=ratio.median,
        ratio_ci95=(ratio.low, ratio.high),
        word=statistics.word_for(ratio),
    )


def _rows(layer: Layer, rows: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((rows, layer.in_features), np.float32)


def _repeat(call: timing.Call, repeats: int) -> timing.Call:
    def repeat() -> None:
        for _ in range(repeats):
            call()

    return repeat
