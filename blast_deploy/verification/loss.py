"""What compression lost, in float64: a figure of its own that no verdict rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.reference import Sample
from blast_deploy.tolerance import deviation


def compression_loss(samples: Sequence[Sample]) -> tuple[dict[str, float] | None, tuple[str, ...]]:
    """Compare the compressed model with its dense original.

    Returns:
        Output name to relative error (root mean square) of the worst sample, None where no dense original is
        known; and what could not be computed, with why.
    """
    if not any(sample.dense_outputs for sample in samples):
        return None, ()
    losses: dict[str, float] = {}
    missing = []
    for name in dict.fromkeys(name for sample in samples for name in sample.outputs):
        fault = next((fault for each in enumerate(samples) if (fault := _fault(name, *each))), None)
        if fault is not None:
            missing.append(f"the compression loss of {name} could not be computed: {fault}")
            continue
        losses[name] = max(_loss(name, sample) for sample in samples)
    return losses, tuple(missing)


def _loss(name: str, sample: Sample) -> float:
    assert sample.dense_outputs is not None
    return deviation(sample.outputs[name], sample.dense_outputs[name]).rms


def _fault(name: str, index: int, sample: Sample) -> str | None:
    outputs: tuple[NDArray[Any] | None, ...] = (
        sample.outputs.get(name),
        (sample.dense_outputs or {}).get(name),
    )
    own, dense = outputs
    if own is None or dense is None:
        return f"sample {index} has none of {'the dense original' if dense is None else 'the model'}"
    if own.shape != dense.shape:
        return f"in sample {index} it has shape {own.shape}, and {dense.shape} in the dense original"
    if not np.isfinite(own).all() or not np.isfinite(dense).all():
        return f"sample {index} holds NaN or infinity"
    return None
