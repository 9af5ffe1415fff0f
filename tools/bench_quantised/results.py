"""What was measured, as it is written to JSON, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tools.bench_layers.contenders import Caches
from tools.bench_quantised.contenders import Name
from tools.bench_quantised.goals import Goal


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one of ours is as another contender.

    Attributes:
        ours: int8 or int4 BLAST.
        other: The other contender.
        median: Its time over ours.
        ci95: The 95% interval of that.
    """

    ours: Name
    other: Name
    median: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Cell:
    """All contenders on one layer, for a number of rows.

    Attributes:
        layer: Its name.
        rows: Rows of X.
        caches: Whether weights come from memory (cold) or from the caches that hold them (warm).
        microseconds: Median time of a layer by contender.
        errors: Relative RMS error of outputs against the layer in float64, by contender.
        ratios: Ours against all others.
        goals: What was to be reached, and by what it is judged.
        doubts: Why times are in doubt; then no goal is judged.
    """

    layer: str
    rows: int
    caches: Caches
    microseconds: dict[Name, float]
    errors: dict[Name, float]
    ratios: tuple[Ratio, ...]
    goals: tuple[Goal, ...]
    doubts: tuple[str, ...]

    def ratio(self, ours: Name, other: Name) -> Ratio:
        """One of the ratios."""
        return next(item for item in self.ratios if (item.ours, item.other) == (ours, other))

    def is_met(self, goal: Goal) -> bool | None:
        """Whether a goal is reached by the median; None where the times are in doubt."""
        return None if self.doubts else self.ratio(goal.ours, goal.other).median >= goal.least


def markdown(cells: Sequence[Cell], machine: dict[str, str]) -> str:
    """The tables: times, ratios and errors, and goals."""
    facts = "; ".join(f"{name} {value}" for name, value in machine.items())
    names = list(cells[0].microseconds)
    lines = ["# Quantised layers", "", f"{facts}.", "", "Microseconds of a layer, one thread:", ""]
    lines += _table(names, cells, lambda cell, name: f"{cell.microseconds[name]:.1f}")
    for ours in dict.fromkeys(item.ours for item in cells[0].ratios):
        others = [item.other for item in cells[0].ratios if item.ours == ours]
        lines += ["", f"Times as fast {ours} is (95% interval):", ""]
        lines += _table(others, cells, lambda cell, name, ours=ours: _spell(cell.ratio(ours, name)))
    lines += ["", "Relative RMS error of the outputs on random weights:", ""]
    firsts = list({cell.layer: cell for cell in cells}.values())
    lines += _table(names, firsts, lambda cell, name: f"{cell.errors[name]:.4f}", with_rows=False)
    lines += ["", "| layer, kept | rows | goal | reached | |", "|---|---|---|---|---|"]
    for cell in cells:
        for goal in cell.goals:
            found = cell.ratio(goal.ours, goal.other).median
            word = {True: "met", False: "missed", None: "unjudged"}[cell.is_met(goal)]
            aim = f"{goal.ours} {goal.least:.1f}x {goal.other}"
            lines.append(f"| {cell.layer} | {cell.rows} | {aim} | {found:.2f} | {word} |")
    return "\n".join(lines) + "\n"


def _table(names, cells, spell, with_rows: bool = True) -> list[str]:  # type: ignore[no-untyped-def]  # noqa: ANN001
    rows = "rows | caches | " if with_rows else ""
    lines = [f"| layer, kept | {rows}{' | '.join(names)} |", "|---|" + "---|" * (len(names) + 2 * with_rows)]
    for cell in cells:
        place = f"{cell.rows} | {cell.caches} | " if with_rows else ""
        lines.append(f"| {cell.layer} | {place}{' | '.join(spell(cell, name) for name in names)} |")
    return lines


def _spell(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} ({ratio.ci95[0]:.2f} to {ratio.ci95[1]:.2f})"
