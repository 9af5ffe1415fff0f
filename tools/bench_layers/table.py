"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from blast_deploy.results import MachinePeaks
from tools.bench_layers.contenders import NAMES, Name
from tools.bench_layers.results import Cell, Scaling, goals_met, typical_ratio


def markdown(
    cells: Sequence[Cell], scalings: Sequence[Scaling], machine: dict[str, str], peaks: MachinePeaks
) -> str:
    """All tables: speed-ups with their goals, the kernel against the machine's limits, and two threads."""
    parts = ["# Single layers", "", _machine(machine, peaks), ""]
    if cells:
        parts += [*_summary(cells), "", *_speedups(cells), "", *_limits(cells), ""]
    if scalings:
        parts += _scaling(scalings)
    return "\n".join(parts).rstrip() + "\n"


def progress_line(cell: Cell) -> str:
    """One line for a cell that was just timed."""
    kernel = cell.of("kernel")
    others = ", ".join(f"{item.ratio:.2f}x {item.contender}" for item in cell.measurements[1:])
    return (
        f"{cell.layer}, {cell.rows} rows, {cell.caches}: {kernel.median_us:.1f} us, "
        f"{kernel.gflops:.0f} GFLOP/s; {others}; goal {cell.goal:.2f} {_verdict(cell)}"
    )


def _machine(machine: dict[str, str], peaks: MachinePeaks) -> str:
    facts = [f"{name} {value}" for name, value in machine.items()]
    roofs = [f"{value:.0f} GFLOP/s of multiply-adds ({name})" for name, value in peaks.gigaflops.items()]
    roofs += [f"{value:.0f} GB/s read from {name}" for name, value in peaks.gigabytes_per_second.items()]
    return f"{'; '.join(facts)}. One core's measured peaks: {', '.join(roofs)}."


def _summary(cells: Sequence[Cell]) -> list[str]:
    """How many times as fast the kernel is, over all layers, and how many goals it reaches."""
    names = _others(cells)
    lines = [
        "Times as fast as others the BLAST kernel is (geometric mean over the layers):",
        "",
        f"| kept | rows | caches | {' | '.join(names)} | goals met |",
        f"|---|---|---|{'---|' * len(names)}---|",
    ]
    for (kept, rows, caches), found in _grouped(cells):
        ratios = " | ".join(f"{typical_ratio(found, name):.2f}" for name in names)
        met, judged = goals_met(found)
        lines.append(f"| {kept:.0%} | {rows} | {caches} | {ratios} | {met} of {judged} |")
    return lines


def _speedups(cells: Sequence[Cell]) -> list[str]:
    names = _others(cells)
    lines = [
        "Times as fast as ORT dense with its 95% interval and its goal, and as the others:",
        "",
        f"| layer, kept | rows | caches | kernel us | ORT dense us | {' | '.join(names)} | goal | |",
        f"|---|---|---|---|---|{'---|' * len(names)}---|---|",
    ]
    for cell in cells:
        ratios = []
        for name in names:
            item = cell.of(name)
            interval = f" ({item.ratio_ci95[0]:.2f} to {item.ratio_ci95[1]:.2f})"
            ratios.append(f"{item.ratio:.2f}{interval if name == 'ORT dense' else ''}")
        times = f"{cell.of('kernel').median_us:.1f} | {cell.of('ORT dense').median_us:.1f}"
        lines.append(
            f"| {cell.layer} | {cell.rows} | {cell.caches} | {times} | {' | '.join(ratios)} "
            f"| {cell.goal:.2f} | {_verdict(cell)} |"
        )
    return lines


def _limits(cells: Sequence[Cell]) -> list[str]:
    names: tuple[Name, ...] = ("kernel", "dense twin", "ORT dense")
    lines = [
        "GFLOP/s and share of the peak; GB/s of weights read and share of the bandwidth of where they lie:",
        "",
        f"| layer, kept | rows | caches | {' | '.join(names)} |",
        f"|---|---|---|{'---|' * len(names)}",
    ]
    for cell in cells:
        found = []
        for name in names:
            item = cell.of(name)
            found.append(
                f"{item.gflops:.0f} ({item.peak_share:.0%}), {item.gigabytes_per_second:.1f} GB/s "
                f"({item.bandwidth_share:.0%} of {item.bandwidth_level})"
            )
        lines.append(f"| {cell.layer} | {cell.rows} | {cell.caches} | {' | '.join(found)} |")
    return lines


def _scaling(scalings: Sequence[Scaling]) -> list[str]:
    lines = [
        f"Two threads over one, least wall time of {scalings[0].rounds} rounds or more:",
        "",
        "| layer, kept | rows | contender | one thread us | two threads us | ratio | other load | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for item in scalings:
        load = "unknown" if item.load is None else f"{item.load:.2f}"
        lines.append(
            f"| {item.layer} | {item.rows} | {item.contender} | {item.one_thread_us:.1f} "
            f"| {item.two_threads_us:.1f} | {item.ratio:.2f} | {load} | {'' if item.judged else 'unjudged'} |"
        )
    return lines


def _others(cells: Sequence[Cell]) -> list[Name]:
    found = {item.contender for item in cells[0].measurements} - {"kernel"}
    return sorted(found, key=("ORT dense", *NAMES).index)


def _grouped(cells: Sequence[Cell]) -> list[tuple[tuple[float, int, str], list[Cell]]]:
    """Cells of layers that keep about as much, by rows and caches."""
    groups: dict[tuple[float, int, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((round(cell.kept, 1), cell.rows, cell.caches), []).append(cell)
    return sorted(groups.items(), key=lambda item: (-item[0][0], item[0][1], item[0][2] != "warm"))


def _verdict(cell: Cell) -> str:
    return "unjudged" if cell.met is None else "met" if cell.met else "missed"
