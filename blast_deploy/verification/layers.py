"""Every structured layer by itself: what really entered it, recomputed in float64 from its own factors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.artifact import LayerRecord
from blast_deploy.epilogue import apply_epilogue
from blast_deploy.errors import BlastDeployError
from blast_deploy.factors import (
    load_factors,
    quantises_activations,
    stored_dtype,
    without_quantised_activations,
)
from blast_deploy.results import Comparison, Epilogue
from blast_deploy.runner import Tap, Taps
from blast_deploy.samples import pick_rows
from blast_deploy.verification.bounds import layer_tolerance, loose_tolerance
from blast_deploy.verification.outputs import carries, compare_tensors, failure
from blast_deploy.verification.words import counted

_MISSING = " is missing from what the runtime reports"
_NO_ROW = ": no row entered it in any sample"
_NOT_FINITE = ": what entered it holds NaN or infinity"


def compare_layers(
    records: Sequence[LayerRecord],
    captured: Sequence[Taps],
    factors: Path,
    progress: Callable[[str], None],
    epilogues: Mapping[str, Epilogue] | None = None,
) -> tuple[Comparison, ...]:
    """Judge every structured layer on what the runtime fed it over all samples.

    Args:
        records: The layers that the artifact declares.
        captured: Layer inputs and outputs, sample by sample.
        factors: The file of original factors.
        progress: Told each layer's name before it is judged.
        epilogues: What the layers' nodes are to do beside; nothing where a layer is not named.
    """
    comparisons = []
    for record in records:
        progress(record.name)
        epilogue = (epilogues or {}).get(record.name, Epilogue())
        comparisons.append(_compare_layer(record, captured, factors, epilogue))
    return tuple(comparisons)


def entering_faults(records: Sequence[LayerRecord], captured: Sequence[Taps]) -> tuple[str, ...]:
    """Layers that the samples cannot judge by what enters them, over all samples together.

    Nothing may be missing or NaN, and at least two rows must differ: where all are equal, a layer that gave
    every row the same answer would look right.
    """
    faults = ((record.name, _entering_fault(record.name, captured)) for record in records)
    return tuple(f"layer {name}{fault}" for name, fault in faults if fault is not None)


def _entering_fault(name: str, captured: Sequence[Taps]) -> str | None:
    if not captured or not all(name in taps for taps in captured):
        return _MISSING
    entering = [taps[name].entered for taps in captured]
    rows = [array.reshape(-1, array.shape[-1]) for array in entering if array.size]
    if not rows:
        return _NO_ROW
    if not all(np.isfinite(array).all() for array in rows):
        return _NOT_FINITE
    # An array that differs in width is refused later, and means nothing here.
    if any(array.shape[1] != rows[0].shape[1] or (array != rows[0][0]).any() for array in rows):
        return None
    count = sum(len(array) for array in rows)
    seen = "only one row enters it" if count == 1 else f"all {count} rows that enter it are equal"
    return f": {seen}, so the samples cannot judge it; give samples with at least two different rows"


def _compare_layer(
    record: LayerRecord, captured: Sequence[Taps], factors: Path, epilogue: Epilogue
) -> Comparison:
    if not captured or not all(record.name in taps for taps in captured):
        return failure(record.name, f"layer {record.name}{_MISSING}")
    own = [taps[record.name] for taps in captured]
    fault = next((fault for tap in own if (fault := _fault(record, tap, epilogue))), None)
    if fault is not None:
        return failure(record.name, f"layer {record.name}{fault}")
    rows = _Rows(
        np.concatenate([tap.entered.reshape(-1, record.in_features) for tap in own]),
        np.concatenate([tap.left.reshape(-1, record.out_features) for tap in own]),
        _residual_rows(record, own),
    )
    if not len(rows.entered):
        return failure(record.name, f"layer {record.name}{_NO_ROW}")
    chosen = pick_rows(len(rows.entered))
    over = f"{len(chosen)} of {counted(len(rows.entered), 'row')} that entered it"
    return _judge(record, rows.pick(chosen), factors, epilogue, over)


@dataclass(frozen=True)
class _Rows:
    """Rows of what entered a layer, of what left it, and of the residual that was added."""

    entered: NDArray[Any]
    left: NDArray[Any]
    residual: NDArray[Any] | None

    def pick(self, chosen: NDArray[np.int64]) -> _Rows:
        residual = None if self.residual is None else self.residual[chosen]
        return _Rows(self.entered[chosen], self.left[chosen], residual)


def _residual_rows(record: LayerRecord, taps: Sequence[Tap]) -> NDArray[Any] | None:
    residuals = [tap.residual for tap in taps if tap.residual is not None]
    if not residuals:
        return None
    return np.concatenate([residual.reshape(-1, record.out_features) for residual in residuals])


def _judge(record: LayerRecord, rows: _Rows, factors: Path, epilogue: Epilogue, over: str) -> Comparison:
    described = f"layer {record.name}"
    try:
        layer = load_factors(
            factors,
            record.name,
            record.operator,
            record.out_features,
            record.in_features,
            record.attributes,
        )
        for name, tensor in layer.tensors.items():
            expected = stored_dtype(record.operator, name, record.dtype)
            if not carries(tensor, expected):
                fault = f"its original {name} is {tensor.dtype}, the manifest says {expected}"
                return failure(record.name, f"{described}: {fault}")
        truth = apply_epilogue(epilogue, layer.apply(rows.entered), rows.residual)
        bound = layer_tolerance(layer, rows.entered, truth, record.dtype, epilogue, rows.residual)
        compared = compare_tensors(record.name, [rows.left], [truth], bound, described, over)
        if compared.verdict != "passed" or not quantises_activations(layer):
            return compared
        plain = without_quantised_activations(layer).apply(rows.entered)
    except BlastDeployError as error:
        return failure(record.name, f"{described}: its truth cannot be computed ({error})")
    loose_truth = apply_epilogue(epilogue, plain, rows.residual)
    loose_bound = loose_tolerance(truth, loose_truth, record.dtype)
    loose = compare_tensors(record.name, [rows.left], [loose_truth], loose_bound, described, over)
    if loose.verdict != "passed":
        return loose
    figures = f"rms {loose.rms_error:.2e} (bound {loose.rms_bound:.2e}) against float64 throughout"
    return replace(compared, reason=f"{compared.reason}; {figures}")


def _fault(record: LayerRecord, tap: Tap, epilogue: Epilogue) -> str | None:
    fault = _pair_fault(record, tap.entered, tap.left)
    if fault is not None:
        return fault
    if epilogue.residual != (tap.residual is not None):
        promised = "a residual is to be added" if epilogue.residual else "no residual is to be added"
        return f": {promised} to it, and the runtime's node does otherwise"
    if tap.residual is None:
        return None
    if not carries(tap.residual, record.dtype) or tap.residual.shape != tap.left.shape:
        return (
            f": the residual that was added is {tap.residual.dtype} {tap.residual.shape}, "
            f"it must be {record.dtype} {tap.left.shape}"
        )
    return (
        ": the residual that was added holds NaN or infinity" if not np.isfinite(tap.residual).all() else None
    )


def _pair_fault(record: LayerRecord, x: NDArray[Any], y: NDArray[Any]) -> str | None:
    for described, array in (("entered", x), ("left", y)):
        if not carries(array, record.dtype):
            return f": what {described} it is {array.dtype}, the manifest says {record.dtype}"
    if x.shape[-1:] != (record.in_features,):
        return f": what entered it has shape {x.shape}, its width must be {record.in_features}"
    if y.shape != (*x.shape[:-1], record.out_features):
        return f": what left it has shape {y.shape}, it must be {(*x.shape[:-1], record.out_features)}"
    if not np.isfinite(x).all():
        return _NOT_FINITE
    faulty = int(y.size - np.isfinite(y).sum())
    if faulty:
        return f": {faulty} of {y.size} values that left it are NaN or infinite"
    return None
