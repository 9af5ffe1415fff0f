"""The roofline plot: what each contender reaches under the machine's roofs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blast_deploy.bench.peaks import MEMORY
from blast_deploy.results import MachinePeaks
from tools.bench_layers.contenders import Caches, Name
from tools.bench_layers.results import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _MUTED, _GRID = "#1f2328", "#6b7280", "#e3e6ea"
_STYLES: dict[Name, tuple[str, str]] = {
    "kernel": ("o", "#0b6bcb"),
    "dense twin": ("D", "#7c3aed"),
    "ORT dense": ("s", "#d9480f"),
    "ORT body": ("^", "#2b8a3e"),
    "torch dense": ("v", "#a0700b"),
    "torch BLAST": ("X", "#868e96"),
}
_DODGE = 1.13
"""All contenders do two operations for each weight and row. They stand side by side, each this factor to the
right of the one before, so that none seems to be above a roof that it is below."""
_LEFT = 0.1
_SETTINGS: Any = {
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "roofline",
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
}


def draw(cells: Sequence[Cell], peaks: MachinePeaks, path: Path, machine: str) -> None:
    """Write the plot; the file's suffix says in which format.

    Args:
        cells: What was timed.
        peaks: The roofs.
        path: SVG or PNG file.
        machine: Its name, for the title.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    states: list[Caches] = [
        state for state in ("warm", "cold") if any(cell.caches == state for cell in cells)
    ]
    names = [name for name in _STYLES if any(name == item.contender for item in cells[0].measurements)]
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(5.9 * len(states) + 0.4, 5.4), layout="constrained", dpi=150)
        axes = figure.subplots(1, len(states), sharey=True, squeeze=False)[0]
        for panel, state in zip(axes, states, strict=True):
            chosen = [cell for cell in cells if cell.caches == state]
            _draw_roofs(panel, peaks, state, max(cell.rows for cell in chosen))
            for place, name in enumerate(names):
                _draw_contender(panel, chosen, name, _DODGE**place)
            _finish(panel, chosen, state)
        axes[0].set_ylabel("GFLOP/s of the contender's own operations")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(names), frameon=False)
        figure.suptitle(f"Single layers on one thread, {machine}", fontsize=11.5, fontweight="bold")
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, facecolor="white", metadata=metadata)


def _draw_roofs(axes: Axes, peaks: MachinePeaks, caches: Caches, most_rows: int) -> None:
    peak = max(peaks.gigaflops.values())
    right = most_rows / 2 * 2.2
    axes.axhline(peak, color=_INK, linewidth=1.4)
    axes.annotate(
        f"{peak:.0f} GFLOP/s",
        (right, peak),
        xytext=(-2, 5),
        textcoords="offset points",
        ha="right",
        fontsize=9,
    )
    levels = [MEMORY] if caches == "cold" else [*list(peaks.cache_bytes)[1:], MEMORY]
    for place, level in enumerate(levels):
        rate = peaks.gigabytes_per_second[level]
        intensity = np.array([_LEFT, peak / rate])
        axes.plot(intensity, rate * intensity, color=_INK, linewidth=1.1)
        above = place == 0  # the first roof is the highest, and the next may be near it
        axes.annotate(
            f"{level} {rate:.0f} GB/s",
            (_LEFT * 1.12, rate * _LEFT * 1.12),
            xytext=(0, 4) if above else (4, -4),
            textcoords="offset points",
            va="baseline" if above else "top",
            rotation=45,
            rotation_mode="anchor",
            transform_rotates_text=True,
            fontsize=9,
        )


def _draw_contender(axes: Axes, cells: Sequence[Cell], name: Name, dodge: float) -> None:
    marker, colour = _STYLES[name]
    rows = np.array([cell.rows for cell in cells])
    gflops = np.array([cell.of(name).gflops for cell in cells])
    axes.plot(
        rows / 2 * dodge,
        gflops,
        linestyle="none",
        marker=marker,
        markersize=3.5,
        color=colour,
        alpha=0.35,
        markeredgewidth=0,
    )
    counts = np.unique(rows)
    medians = [float(np.median(gflops[rows == count])) for count in counts]
    axes.plot(
        counts / 2 * dodge,
        medians,
        linestyle="none",
        marker=marker,
        markersize=7.5,
        color=colour,
        markeredgecolor="white",
        markeredgewidth=0.8,
        label=name,
    )


def _finish(axes: Axes, cells: Sequence[Cell], caches: Caches) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    rows = sorted({cell.rows for cell in cells})
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(_LEFT, max(rows) / 2 * 2.2)
    axes.set_ylim(1.0, 220)
    axes.xaxis.set_major_locator(FixedLocator([count / 2 for count in rows]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}\n{2 * value:.0f}"))
    axes.yaxis.set_major_locator(FixedLocator([1, 2, 5, 10, 20, 50, 100, 200]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("operations per byte of weights, and below it the rows")
    origin = "caches warm" if caches == "warm" else "caches cold: weights come from memory"
    axes.set_title(f"{origin} (large: median of the layers)", fontsize=10, loc="left")
