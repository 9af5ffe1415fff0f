"""How the report writes numbers."""

from __future__ import annotations

import math


def write_bytes(count: float | None) -> str:
    """Bytes in decimal units: ``43.2 MB``."""
    if count is None:
        return "–"
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def write_count(count: int | None) -> str:
    """A whole number with thin spaces between thousands."""
    return "–" if count is None else f"{count:,}".replace(",", "\u202f")


def write_percent(fraction: float | None) -> str:
    """A fraction as a percentage with one decimal."""
    return "–" if fraction is None else f"{100 * fraction:.1f}%"


def write_decimal(value: float | None, digits: int = 3) -> str:
    """A number with a fixed number of decimals."""
    return "–" if value is None else f"{value:.{digits}f}"


def write_significant(value: float | None, digits: int = 3) -> str:
    """A number with three significant digits, never in powers of ten."""
    if value is None:
        return "–"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def write_error(value: float | None) -> str:
    """A relative error: ``1.2e-06``, or that it is not a number."""
    if value is None:
        return "–"
    return "not a number" if math.isnan(value) else f"{value:.1e}"
