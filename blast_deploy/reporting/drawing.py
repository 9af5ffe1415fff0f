"""SVG that takes its colours and fonts from the page, so that it reads in light and dark, and plain files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from blast_deploy.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#010203", "#010204", "#010205"
SERIES = ("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05", "#0a0b06")
WORDS = {
    "faster": "#0c0d01",
    "slower": "#0c0d02",
    "no difference": "#0c0d03",
    "unjudged": "#0c0d04",
}
# Stand-ins in the drawing, and the page's variables that take their place.
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    **{colour: f"--series-{index}" for index, colour in enumerate(SERIES)},
    **{colour: f"--{word.replace(' ', '-')}" for word, colour in WORDS.items()},
}
# What takes their place in a file that stands by itself, on white.
_PLAIN = {INK: "#17211f", MUTED: "#5c6865", GRID: "#dfe5e3", SERIES[0]: "#0b7a6f", SERIES[2]: "#5b74c4"}
_SETTINGS: Any = {  # matplotlib types the keys as one long literal
    "svg.fonttype": "none",
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "figure.facecolor": "none",
}


def series_colour(index: int) -> str:
    """Colour of the model at a place; the last one serves all that come after it."""
    return SERIES[min(index, len(SERIES) - 1)]


def plain_colour(stand_in: str) -> str:
    """The colour that a stand-in has in a file that stands by itself."""
    return _PLAIN[stand_in]


@contextmanager
def style(*, standalone: bool = False) -> Iterator[None]:
    """The report's look, for everything that is drawn and written inside.

    Args:
        standalone: In colours of its own, not in stand-ins for the page's.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise MissingExtraError("matplotlib", "report") from None
    settings = (
        {key: _PLAIN.get(value, value) for key, value in _SETTINGS.items()} if standalone else _SETTINGS
    )
    with mpl.rc_context(settings):
        yield


def new_figure(
    width: float, height: float, rows: int, columns: int, **layout: Any
) -> tuple[Figure, list[list[Axes]]]:
    """Make a figure of a size in inches, with its grid of axes; within ``style``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **layout)
    return figure, [list(row) for row in axes]


def to_svg(figure: Figure, name: str, description: str) -> str:
    """Write a figure as an SVG element to stand in a page; within ``style``.

    Args:
        figure: What ``new_figure`` made.
        name: Unique in the page: keeps the figures' ids apart.
        description: What it shows, for those who cannot see it.
    """
    import matplotlib as mpl

    written = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r'\b(id="|url\(#|href="#)', rf"\1{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(description)}" ', 1)
