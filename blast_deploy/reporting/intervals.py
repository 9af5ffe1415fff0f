"""Pictures of learned structures: how many components cover each entry, how widely, and at what budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from blast_deploy.errors import InvalidInputError, OutputExistsError
from blast_deploy.reporting.drawing import SERIES, plain_colour, style, to_svg
from blast_deploy.reporting.formats import write_percent
from blast_deploy.results import Inspection, LayerIntervals
from blast_deploy.staging import staged_file
from blast_deploy.structures.gblr.coverage import coverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png", ".pdf")
_WIDTH, _FEWEST, _COLUMNS, _CELLS = 9.8, 4, 6, 96
_ROW_SIDE, _COLUMN_SIDE = SERIES[0], SERIES[2]
_NAMED = 40
"""More layers than this are numbered, not named, below the bars."""


class DrawnLayer(Protocol):
    """What a picture needs to know of a layer; compressed and inspected layers have it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def out_features(self) -> int: ...  # noqa: D102
    @property
    def in_features(self) -> int: ...  # noqa: D102
    @property
    def parameters(self) -> int: ...  # noqa: D102
    @property
    def dense_parameters(self) -> int: ...  # noqa: D102
    @property
    def intervals(self) -> LayerIntervals | None: ...  # noqa: D102


def intervals_figure(layers: Sequence[DrawnLayer], name: str) -> str | None:
    """Draw the mask map of every GBLR layer, and all widths and budgets.

    Args:
        layers: Those that are not GBLR are left out.
        name: Unique in the page.

    Returns:
        An SVG element, or None where no layer is GBLR.

    Raises:
        InvalidInputError: If intervals lie outside their axes.
        MissingExtraError: If matplotlib is not installed.
    """
    chosen = _gblr(layers)
    if not chosen:
        return None
    with style():
        figure = _draw(chosen, lambda stand_in: stand_in)
        return to_svg(figure, name, f"Mask maps, widths and budgets of {len(chosen)} GBLR layers")


def plot_intervals(inspection: Inspection, output: str | Path, *, force: bool = False) -> Path:
    """Draw the mask map of every GBLR layer of a model, and all widths and budgets, into a file.

    The brightness of a map's cell is the number of components that cover its entries; the maps of a file
    share one scale.

    Args:
        inspection: What ``inspect`` found.
        output: A file that ends in ``.svg``, ``.png`` or ``.pdf``.
        force: Replace it if it exists.

    Returns:
        The file.

    Raises:
        InvalidInputError: If no layer is GBLR, or the file cannot be written.
        OutputExistsError: If the output exists and ``force`` is not given.
        MissingExtraError: If matplotlib is not installed.
    """
    path = Path(output)
    _check_plot(path, force)
    chosen = _gblr(inspection.layers)
    if not chosen:
        raise InvalidInputError(
            f"{inspection.path} has no GBLR layer whose intervals could be drawn; "
            "compress it with --structure gblr or auto"
        )
    with style(standalone=True), staged_file(path) as staged:
        figure = _draw(chosen, plain_colour)
        figure.savefig(staged, format=path.suffix[1:].lower(), facecolor="white", dpi=150)
    return path


def _check_plot(path: Path, force: bool) -> None:
    if path.suffix.lower() not in FORMATS:
        raise InvalidInputError(
            f"a plot is written as {', '.join(FORMATS)} (got {path}); give it such an ending"
        )
    if path.is_dir() or (path.exists() and not force):
        raise OutputExistsError(f"{path} exists; choose another file for the plot or use force to replace it")
    if not path.parent.is_dir():
        raise InvalidInputError(f"the folder {path.parent} does not exist; make it, or plot to another file")


def _gblr(layers: Sequence[DrawnLayer]) -> list[tuple[DrawnLayer, LayerIntervals]]:
    return [(layer, layer.intervals) for layer in layers if layer.intervals is not None]


Chosen = Sequence[tuple[DrawnLayer, LayerIntervals]]


def _draw(chosen: Chosen, colour: Callable[[str], str]) -> Figure:
    from matplotlib.figure import Figure

    names = _short_names([layer.name for layer, _ in chosen])
    columns = min(max(len(chosen), _FEWEST), _COLUMNS)
    rows = -(-len(chosen) // columns)
    height = 1.55 * rows
    figure = Figure(figsize=(_WIDTH, height + 4.0), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=[height, 4.0])
    upper, lower = (figure.add_subfigure(grid[place]) for place in range(2))
    cells = [cell for row in upper.subplots(rows, columns, squeeze=False) for cell in row]
    maps = [coverage(each, layer.out_features, layer.in_features, _CELLS) for layer, each in chosen]
    most = max(1.0, *(float(found.max()) for found in maps))
    for cell, (layer, intervals), found, name in zip(cells, chosen, maps, names, strict=False):
        image = cell.imshow(found, cmap="viridis", vmin=0, vmax=most, aspect="auto", interpolation="nearest")
        cell.set_title(
            f"{name}\n{layer.out_features} × {layer.in_features}, {len(intervals.u_start)} components",
            fontsize=6.5,
            fontweight="normal",
        )
        cell.set(xticks=[], yticks=[])
        cell.grid(visible=False)
    for cell in cells[len(chosen) :]:
        cell.set_visible(False)
    bar = upper.colorbar(image, ax=cells, fraction=0.02, pad=0.01)
    bar.set_label("components", fontsize=8)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    budgets, widths = lower.subplots(2, 1, sharex=True)
    _draw_budgets(budgets, chosen, colour)
    _draw_widths(widths, chosen, colour)
    labels = names if len(chosen) <= _NAMED else [str(index) for index in range(len(chosen))]
    widths.set_xlim(-0.6, max(len(chosen), _FEWEST) - 0.4)
    widths.set_xticks(range(len(chosen)), labels, rotation=90, fontsize=6.5)
    return figure


def _draw_budgets(axes: Axes, chosen: Chosen, colour: Callable[[str], str]) -> None:
    kept = [layer.parameters / layer.dense_parameters for layer, _ in chosen]
    axes.bar(range(len(kept)), [100 * each for each in kept], color=colour(_ROW_SIDE), width=0.7)
    axes.set_ylabel("kept, %", fontsize=8)
    total = sum(layer.parameters for layer, _ in chosen) / sum(layer.dense_parameters for layer, _ in chosen)
    axes.set_title(f"Budgets: {write_percent(total)} of the dense parameters together", fontsize=9)
    axes.tick_params(axis="y", labelsize=8)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)


def _draw_widths(axes: Axes, chosen: Chosen, colour: Callable[[str], str]) -> None:
    for offset, side, stand_in in ((-0.17, "u", _ROW_SIDE), (0.17, "v", _COLUMN_SIDE)):
        label = "rows (u)" if side == "u" else "columns (v)"
        for place, (layer, intervals) in enumerate(chosen):
            size = layer.out_features if side == "u" else layer.in_features
            widths = 100 * np.array(getattr(intervals, f"{side}_width"), float) / size
            if not widths.size:
                continue
            low, middle, high = np.percentile(widths, (10, 50, 90))
            at = place + offset
            axes.plot([at, at], [low, high], color=colour(stand_in), linewidth=1.6)
            axes.plot([at], [middle], marker="o", markersize=3, color=colour(stand_in), label=label)
            label = "_"
    axes.set_ylim(0, 105)
    axes.set_ylabel("width, % of axis", fontsize=8)
    axes.set_title("Widths of the components: median, 10th to 90th percentile", fontsize=9)
    axes.tick_params(axis="both", labelsize=8)
    axes.grid(axis="x", visible=False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False, loc="lower right", ncols=2)


def _short_names(names: Sequence[str]) -> list[str]:
    """Names without the leading parts that all have alike; of a single one, all but its last part."""
    split = [name.split(".") for name in names]
    alike = [len(set(parts)) == 1 for parts in zip(*(parts[:-1] for parts in split), strict=False)]
    first = next((place for place, same in enumerate(alike) if not same), len(alike))
    return [".".join(parts[first:]) for parts in split]
