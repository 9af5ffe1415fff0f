"""Plain words for what was verified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from blast_deploy.results import Comparison


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 sample``, ``2 samples``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def describe_comparisons(comparisons: Sequence[Comparison], noun: str) -> str:
    """How many outputs or layers are within their bounds."""
    passed = sum(each.verdict == "passed" for each in comparisons)
    return f"{passed:,} of {counted(len(comparisons), noun)} within the bounds against float64"


def describe_kernels(kernels: Mapping[str, str]) -> str:
    """What the runtime ran the structured layers by."""
    if not kernels:
        return "the runtime ran no structured layer"
    counts = Counter(kernels.values())
    ran = ", ".join(f"{counted(count, 'layer')} by {operator}" for operator, count in counts.items())
    return f"the runtime ran {ran}"
