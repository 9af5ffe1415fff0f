"""The sizes that a plan is made for: ``batch=1,sequence=16:128``, and the rows of a layer that follow."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from blast_deploy.errors import InvalidInputError
from blast_deploy.planning.layer import RowRange

DEFAULT_RANGE = (1, 128)
"""What an axis may be where ``--shape`` does not name it."""
LARGEST = 2**31 - 1

_PART = re.compile(r"\s*([^=\s]+)\s*=\s*(\d{1,10})(?::(\d{1,10}))?\s*")
_FACTOR = re.compile(r"\d+|[A-Za-z_]\w*")


def parse_shape(text: str | None, axes: Collection[str]) -> dict[str, RowRange]:
    """Read a ``--shape`` argument.

    Args:
        text: Comma-separated ``axis=size`` or ``axis=fewest:most``; None or empty names nothing.
        axes: The model's dynamic axes.

    Returns:
        Every dynamic axis with its fewest and most, the default range where the text does not name it.

    Raises:
        InvalidInputError: If the text cannot be read, or names an axis that the model does not have.
    """
    ranges = dict.fromkeys(axes, DEFAULT_RANGE)
    named: set[str] = set()
    for part in filter(str.strip, (text or "").split(",")):
        axis, size = _parse_part(part)
        if axis not in ranges:
            known = f"it must be one of {', '.join(ranges)}" if ranges else "it has no dynamic axes"
            raise InvalidInputError(f"the model has no dynamic axis {axis!r}; {known}")
        if axis in named:
            raise InvalidInputError(f"axis {axis!r} is given twice in {text!r}; name it once")
        named.add(axis)
        ranges[axis] = size
    return ranges


def layer_rows(leading: Sequence[int | str | None] | None, ranges: Mapping[str, RowRange]) -> RowRange:
    """Fewest and most rows of a layer.

    Args:
        leading: All axes of the layer's input but the last, a name for a dynamic one, None for an unknown
            one; None as a whole where the shape is unknown.
        ranges: Dynamic axis to its fewest and most.

    Returns:
        The product over the leading axes; where an axis is not known, that over all dynamic axes.
    """
    everything = _product(list(ranges.values()))
    if leading is None:
        return everything
    sizes: list[RowRange] = []
    for axis in leading:
        size = _axis_range(axis, ranges)
        if size is None:
            return everything
        sizes.append(size)
    return _product(sizes)


def _axis_range(axis: int | str | None, ranges: Mapping[str, RowRange]) -> RowRange | None:
    """Range of one axis, which the exporter may have written as a product such as ``batch*sequence``."""
    if isinstance(axis, int):
        return axis, axis
    if axis is None:
        return None
    factors = [factor.strip() for factor in axis.split("*")]
    if not all(_FACTOR.fullmatch(factor) and (factor.isdigit() or factor in ranges) for factor in factors):
        return None
    return _product([(int(f), int(f)) if f.isdigit() else ranges[f] for f in factors])


def _product(sizes: list[RowRange]) -> RowRange:
    fewest, most = 1, 1
    for low, high in sizes:
        fewest, most = fewest * low, most * high
    return fewest, most


def _parse_part(part: str) -> tuple[str, RowRange]:
    match = _PART.fullmatch(part)
    if match is None:
        raise InvalidInputError(
            f"shape {part.strip()!r} cannot be read; write axis=size or axis=fewest:most, such as batch=1:8"
        )
    axis, fewest = match[1], int(match[2])
    most = int(match[3]) if match[3] is not None else fewest
    if not 1 <= fewest <= most <= LARGEST:
        raise InvalidInputError(
            f"axis {axis!r} must have 1 <= fewest <= most <= {LARGEST} (got {fewest}:{most}); mend --shape"
        )
    return axis, (fewest, most)
