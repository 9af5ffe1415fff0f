"""Every structured layer by itself: what really entered it, recomputed in float64 from its own factors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.artifact import LayerRecord
from blast_deploy.errors import BlastDeployError
from blast_deploy.factors import load_factors
from blast_deploy.results import Comparison
from blast_deploy.runner import Taps
from blast_deploy.verification.bounds import layer_tolerance
from blast_deploy.verification.outputs import compare_tensors, failure

MOST_ROWS = 64
"""Rows recomputed for each layer; one wrong panel or weight shows in every row."""


def compare_layers(
    records: Sequence[LayerRecord],
    captured: Sequence[Taps],
    factors: Path,
    progress: Callable[[str], None],
) -> tuple[Comparison, ...]:
    """Judge every structured layer on what the runtime fed it over all samples.

    Args:
        records: The layers that the artifact declares.
        captured: Layer inputs and outputs, sample by sample.
        factors: The file of original factors.
        progress: Told each layer's name before it is judged.
    """
    comparisons = []
    for record in records:
        progress(record.name)
        comparisons.append(_compare_layer(record, captured, factors))
    return tuple(comparisons)


def degenerate_layers(records: Sequence[LayerRecord], captured: Sequence[Taps]) -> tuple[str, ...]:
    """Layers that the samples cannot judge: all rows that enter them are equal, over all samples together."""
    reasons = []
    for record in records:
        entering = [taps[record.name][0] for taps in captured if record.name in taps]
        rows = [array.reshape(-1, array.shape[-1]) for array in entering if array.size]
        if rows and not any((array != rows[0][0]).any() for array in rows):
            count = sum(len(array) for array in rows)
            reasons.append(
                f"layer {record.name}: all {count} rows that enter it are equal, so the samples cannot judge "
                "it; give samples with at least two different rows"
            )
    return tuple(reasons)


def pick_rows(count: int, most: int = MOST_ROWS) -> NDArray[np.int64]:
    """Indices of at most ``most`` of ``count`` rows, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _compare_layer(record: LayerRecord, captured: Sequence[Taps], factors: Path) -> Comparison:
    if not all(record.name in taps for taps in captured):
        return failure(record.name, f"layer {record.name} is missing from what the runtime reports")
    pairs = [taps[record.name] for taps in captured]
    fault = next((fault for pair in pairs if (fault := _pair_fault(record, *pair))), None)
    if fault is not None:
        return failure(record.name, f"layer {record.name}: {fault}")
    entered = np.concatenate([x.reshape(-1, record.in_features) for x, _ in pairs])
    left = np.concatenate([y.reshape(-1, record.out_features) for _, y in pairs])
    if not len(entered):
        return failure(record.name, f"layer {record.name}: no row entered it in any sample")
    chosen = pick_rows(len(entered))
    return _judge(record, entered[chosen], left[chosen], factors)


def _judge(record: LayerRecord, x: NDArray[Any], y: NDArray[Any], factors: Path) -> Comparison:
    try:
        layer = load_factors(factors, record.name, record.operator, record.out_features, record.in_features)
        truth = layer.apply(x)
        bound = layer_tolerance(layer, x, truth)
    except BlastDeployError as error:
        return failure(record.name, f"layer {record.name}: its truth cannot be computed ({error})")
    return compare_tensors(record.name, [y], [truth], bound, f"layer {record.name}")


def _pair_fault(record: LayerRecord, x: NDArray[Any], y: NDArray[Any]) -> str | None:
    if x.shape[-1:] != (record.in_features,):
        return f"what entered it has shape {x.shape}, its width must be {record.in_features}"
    if y.shape != (*x.shape[:-1], record.out_features):
        return f"what left it has shape {y.shape}, it must be {(*x.shape[:-1], record.out_features)}"
    if not np.isfinite(x).all():
        return "what entered it holds NaN or infinity"
    return None
