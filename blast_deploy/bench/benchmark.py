"""Times an artifact against what a user would run instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from blast_deploy.bench import load, memory, statistics, timing
from blast_deploy.bench.clock import Clock, clock_for
from blast_deploy.bench.contenders import (
    OpenContender,
    Source,
    check_same_inputs,
    check_same_task,
    find_sources,
)
from blast_deploy.bench.inputs import Sizes, build_inputs, sizes_to_time
from blast_deploy.bench.machine import describe_machine
from blast_deploy.errors import InvalidInputError
from blast_deploy.results import BenchmarkResult, Contender, Ratio
from blast_deploy.runner import check_threads

ROUNDS = 30
FEWEST_ROUNDS = 10
"""Below this a bootstrap interval says little."""
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class _Workload:
    """The inputs of one shape."""

    sizes: Sizes
    inputs: dict[str, NDArray[Any]]

    @property
    def description(self) -> str:
        return describe_sizes(self.sizes)


def benchmark(
    artifact: str | Path,
    *,
    against: Sequence[str | Path] = (),
    threads: int = 1,
    shapes: Sequence[str | Mapping[str, int]] | None = None,
    rounds: int = ROUNDS,
    progress: Progress | None = None,
) -> BenchmarkResult:
    """Time an artifact against others, interleaved in this process.

    With one thread, thread CPU time is measured; with more, wall time. Every contender is first shown to
    give finite outputs of the artifact's shapes for the same inputs.

    Args:
        artifact: The artifact's folder.
        against: Baselines: artifact folders, and ``.onnx`` files to run in stock ONNX Runtime.
        threads: Threads of each contender.
        shapes: What dynamic axes are to be, such as ``"batch=1,sequence=16"``; by default as in the
            artifact's reference samples.
        rounds: How often each contender has its turn.
        progress: Called with steps done, steps in all, and what is being done.

    Returns:
        Times, memory and size of every contender for every shape, and the ratio of every baseline's time to
        the artifact's.

    Raises:
        InvalidInputError: If a contender cannot be run or does not compute the same thing, or an argument
            is out of its range.
        UnsupportedMachineError: If this machine cannot run a contender.
    """
    check_threads(threads)
    if rounds < FEWEST_ROUNDS:
        raise InvalidInputError(f"rounds must be at least {FEWEST_ROUNDS} for an interval (got {rounds})")
    sources = find_sources([artifact, *against])
    clock = clock_for(threads)
    meter = load.LoadMeter()
    with ExitStack() as stack:
        opened = [_opened(source, threads, stack) for source in sources]
        check_same_inputs(sources, opened)
        workloads = _workloads(sources[0], opened[0], shapes)
        contenders = {source.name: contender for source, contender in zip(sources, opened, strict=True)}
        _check_all(contenders, workloads)
        steps = _Steps(progress, len(workloads) * (len(sources) + rounds))
        measured = _measure_memory(sources, workloads, threads, steps)
        timings = [_time(contenders, workload, clock, rounds, meter, steps) for workload in workloads]
    reasons = _doubts(timings, workloads, clock, threads, meter)
    return BenchmarkResult(
        clock=clock.name,
        threads=threads,
        machine=describe_machine(),
        load=meter.load,
        judged=not reasons,
        reasons=reasons,
        contenders=tuple(
            _record(source, workload, taken[source.name], measured[source.name, index])
            for index, (workload, taken) in enumerate(zip(workloads, timings, strict=True))
            for source in sources
        ),
        ratios=tuple(
            _ratio(sources[0].name, baseline.name, workload, taken, judged=not reasons)
            for workload, taken in zip(workloads, timings, strict=True)
            for baseline in sources[1:]
        ),
    )


def describe_sizes(sizes: Mapping[str, int]) -> str:
    """Write sizes as ``--shape`` takes them."""
    return ",".join(f"{axis}={size}" for axis, size in sizes.items()) or "the model's fixed shape"


class _Steps:
    """Counts steps for a progress callback."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def announce(self, what: str) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total, what)

    def advance(self, what: str) -> None:
        self._done += 1
        self.announce(what)


def _opened(source: Source, threads: int, stack: ExitStack) -> OpenContender:
    contender = source.open(threads)
    stack.callback(contender.close)
    return contender


def _workloads(
    source: Source, contender: OpenContender, shapes: Sequence[str | Mapping[str, int]] | None
) -> list[_Workload]:
    samples = source.samples()
    return [
        _Workload(sizes, build_inputs(contender.inputs, sizes, samples))
        for sizes in sizes_to_time(shapes, contender.inputs, samples)
    ]


def _check_all(contenders: Mapping[str, OpenContender], workloads: Sequence[_Workload]) -> None:
    for workload in workloads:
        results = {name: contender.run(workload.inputs) for name, contender in contenders.items()}
        check_same_task(results, workload.description)


def _measure_memory(
    sources: Sequence[Source], workloads: Sequence[_Workload], threads: int, steps: _Steps
) -> dict[tuple[str, int], memory.Memory | None]:
    measured: dict[tuple[str, int], memory.Memory | None] = {}
    for index, workload in enumerate(workloads):
        for source in sources:
            steps.announce(f"memory of {source.name}, {workload.description}")
            measured[source.name, index] = memory.measure(source.path, threads, workload.inputs)
            steps.advance(f"memory of {source.name}, {workload.description}")
    return measured


def _time(
    contenders: Mapping[str, OpenContender],
    workload: _Workload,
    clock: Clock,
    rounds: int,
    meter: load.LoadMeter,
    steps: _Steps,
) -> dict[str, timing.Timings]:
    what = f"timing {workload.description}"
    steps.announce(what)
    calls = {name: _call(contender, workload) for name, contender in contenders.items()}
    meter.start()
    try:
        return timing.interleave(calls, clock, rounds=rounds, after_round=lambda: steps.advance(what))
    finally:
        meter.stop()


def _call(contender: OpenContender, workload: _Workload) -> timing.Call:
    return lambda: contender.run(workload.inputs)


def _doubts(
    timings: Sequence[Mapping[str, timing.Timings]],
    workloads: Sequence[_Workload],
    clock: Clock,
    threads: int,
    meter: load.LoadMeter,
) -> tuple[str, ...]:
    loaded = load.too_loaded(meter.load, clock, threads, len(load.usable_cpus()))
    found = [loaded] if loaded is not None else []
    for workload, taken in zip(workloads, timings, strict=True):
        found += [f"{doubt} ({workload.description})" for doubt in timing.doubts(taken, clock)]
    return tuple(found)


def _record(
    source: Source, workload: _Workload, taken: timing.Timings, measured: memory.Memory | None
) -> Contender:
    summary = statistics.summarise(taken.runs)
    return Contender(
        name=source.name,
        path=source.path,
        runtime=source.runtime,
        shape=workload.sizes,
        median_ms=summary.median,
        p50_ms=summary.p50,
        p90_ms=summary.p90,
        p99_ms=summary.p99,
        spread_ms=summary.spread,
        runs=summary.runs,
        bytes_on_disk=source.bytes_on_disk,
        peak_memory_mb=measured.peak if measured else None,
        resident_memory_mb=measured.resident if measured else None,
        private_memory_mb=measured.private if measured else None,
    )


def _ratio(
    contender: str, baseline: str, workload: _Workload, taken: Mapping[str, timing.Timings], *, judged: bool
) -> Ratio:
    interval = statistics.bootstrap_ratio(taken[baseline].round_medians, taken[contender].round_medians)
    return Ratio(
        contender=contender,
        baseline=baseline,
        shape=workload.sizes,
        median=interval.median,
        ci95=(interval.low, interval.high),
        word=statistics.word_for(interval) if judged else "unjudged",
    )
