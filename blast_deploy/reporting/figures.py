"""The report's figures: latency with intervals, and quality against size and latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from blast_deploy.reporting.drawing import (
    GRID,
    INK,
    MUTED,
    WORDS,
    new_figure,
    series_colour,
    style,
    to_svg,
)
from blast_deploy.reporting.models import Model, Models, quality_of, shape_text
from blast_deploy.results import BenchmarkResult, Contender, Ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Measured = TypeVar("Measured", Contender, Ratio)
WIDTH = 9.8
_COLUMNS = 2


def latency_figure(benchmark: BenchmarkResult, models: Models, name: str) -> str:
    """Draw median latency with P90 and P99 for each shape, and beside it every ratio with its interval.

    Args:
        benchmark: What to draw.
        models: Gives each contender its colour.
        name: Unique in the page.

    Returns:
        An SVG element.
    """
    shapes = _shapes(benchmark)
    per_shape = max(len(_at(benchmark.contenders, shape)) for shape in shapes)
    columns = 2 if benchmark.ratios else 1
    height = 0.4 + len(shapes) * (0.55 + 0.3 * per_shape)
    with style():
        figure, axes = new_figure(WIDTH, height, len(shapes), columns, width_ratios=[3, 2][:columns])
        for row, shape in zip(axes, shapes, strict=True):
            _draw_latency(row[0], _at(benchmark.contenders, shape), models)
            row[0].set_title(shape_text(shape))
            if benchmark.ratios:
                _draw_ratios(row[1], _at(benchmark.ratios, shape))
        axes[-1][0].set_xlabel(f"ms, {benchmark.clock}: median (bar), P90 (tick), P99 (line)")
        if benchmark.ratios:
            axes[-1][1].set_xlabel("times as fast, 95% interval")
        return to_svg(figure, name, f"Latency of each contender by shape, threads: {benchmark.threads}")


def pareto_figure(models: Models, name: str) -> str | None:
    """Draw quality against kept parameters and against latency, with the best trade-offs joined.

    Args:
        models: What is known of each model.
        name: Unique in the page.

    Returns:
        An SVG element, or None where fewer than two models have both coordinates.
    """
    measure = models.measure()
    if measure is None:
        return None
    panels: list[tuple[str, list[tuple[Model, float, float]]]] = []
    kept = [(model, model.kept * 100) for model in models.all() if model.kept is not None]
    panels.append(("kept parameters of the structured layers, %", _points(kept, measure)))
    shapes = dict.fromkeys(shape for model in models.all() for shape in model.latency)
    for shape in shapes:
        timed = [(model, model.latency[shape]) for model in models.all() if shape in model.latency]
        panels.append((f"median milliseconds, {shape}", _points(timed, measure)))
    panels = [(label, points) for label, points in panels if len(points) >= _COLUMNS]
    if not panels:
        return None
    rows = -(-len(panels) // _COLUMNS)
    with style():
        figure, axes = new_figure(WIDTH, 0.3 + 2.5 * rows, rows, min(len(panels), _COLUMNS), sharey=True)
        cells = [cell for row in axes for cell in row]
        for cell, (label, points) in zip(cells, panels, strict=False):
            _draw_pareto(cell, points)
            cell.set_xlabel(label)
        for row in axes:
            row[0].set_ylabel(measure)
        for cell in cells[len(panels) :]:
            cell.set_visible(False)
        return to_svg(figure, name, f"{measure} against kept parameters and latency")


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both: less of the first, more of the second; by the first."""
    best: list[tuple[float, float]] = []
    for cost, gain in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not best or gain > best[-1][1]:
            best.append((cost, gain))
    return best


def _draw_latency(axes: Axes, contenders: Sequence[Contender], models: Models) -> None:
    for place, contender in enumerate(contenders):
        colour = series_colour(models.named(contender.name).series)
        axes.barh(place, contender.median_ms, height=0.62, color=colour, linewidth=0)
        axes.plot([contender.median_ms, contender.p99_ms], [place, place], color=INK, linewidth=1.0)
        axes.plot([contender.p90_ms], [place], marker="|", markersize=8, color=INK)
        axes.annotate(
            f"{contender.median_ms:.3g}",
            (max(contender.p99_ms, contender.median_ms), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
        )
    axes.set_yticks(range(len(contenders)), [contender.name for contender in contenders])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(contenders) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * max(contender.p99_ms for contender in contenders))
    axes.grid(axis="y", visible=False)


def _draw_ratios(axes: Axes, ratios: Sequence[Ratio]) -> None:
    axes.axvline(1.0, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    for place, ratio in enumerate(ratios):
        colour = WORDS[ratio.word]
        axes.plot(ratio.ci95, [place, place], color=colour, linewidth=2.4, solid_capstyle="round")
        axes.plot([ratio.median], [place], marker="o", markersize=6, color=colour)
        axes.annotate(
            f"{ratio.median:.2f} × {ratio.word}",
            (ratio.median, place),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=9.5,
        )
    axes.set_yticks(range(len(ratios)), [f"vs {ratio.baseline}" for ratio in ratios])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(ratios) - 0.4, -0.7)
    ends = [1.0, *(end for ratio in ratios for end in ratio.ci95)]
    margin = 0.45 * max(max(ends) - min(ends), 0.2)
    axes.set_xlim(min(ends) - margin, max(ends) + margin)
    axes.grid(axis="y", visible=False)


def _draw_pareto(axes: Axes, points: Sequence[tuple[Model, float, float]]) -> None:
    best = frontier([(cost, gain) for _, cost, gain in points])
    axes.plot([cost for cost, _ in best], [gain for _, gain in best], color=GRID, linewidth=2.0, zorder=1)
    costs = [cost for _, cost, _ in points]
    middle = (min(costs) + max(costs)) / 2
    placed: Counter[float] = Counter()
    for model, cost, gain in points:
        above = placed[round(gain, 2)] % 2 == 0  # labels of points that are near each other go apart
        placed[round(gain, 2)] += 1
        axes.plot([cost], [gain], marker="o", markersize=8, color=series_colour(model.series), zorder=2)
        leftward = cost > middle
        axes.annotate(
            model.name,
            (cost, gain),
            xytext=(3 if leftward else -3, 8 if above else -16),
            textcoords="offset points",
            ha="right" if leftward else "left",
            fontsize=9.5,
        )
    axes.margins(x=0.12, y=0.3)


def _points(placed: Sequence[tuple[Model, float]], measure: str) -> list[tuple[Model, float, float]]:
    found = [(model, cost, quality_of(model, measure)) for model, cost in placed]
    return [(model, cost, gain) for model, cost, gain in found if gain is not None]


def _shapes(benchmark: BenchmarkResult) -> list[dict[str, int]]:
    distinct: list[dict[str, int]] = []
    for contender in benchmark.contenders:
        if contender.shape not in distinct:
            distinct.append(contender.shape)
    return distinct


def _at(items: Sequence[Measured], shape: dict[str, int]) -> list[Measured]:
    return [item for item in items if item.shape == shape]
