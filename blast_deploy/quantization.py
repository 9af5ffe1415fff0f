"""A portable model's layers quantised: on what they are fed, within a budget of error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.quantize import Quantize
from blast_deploy.passes.save import save_mapped
from blast_deploy.passes.structured import StructuredLayer
from blast_deploy.passes.taps import Taps, tap_names
from blast_deploy.portable import PortableModel, read_portable
from blast_deploy.results import LayerQuantization
from blast_deploy.runner import check_inputs
from blast_deploy.samples import MOST_ROWS, pick_rows
from blast_deploy.staging import scratch_folder
from blast_deploy.stock import run_stock
from blast_deploy.structures.contract import BLAST_LINEAR
from blast_deploy.structures.quantized_blast.matrix import (
    Activation,
    QuantizedBlastMatrix,
    check_activation,
)
from blast_deploy.structures.quantized_blast.quantize import BLOCK_SIZES, quantize
from blast_deploy.tolerance import deviation

Arrays = Mapping[str, NDArray[Any]]
Rows = Mapping[str, NDArray[Any]]
"""Layer name to rows that entered it, (rows, in_features)."""

BITS = {"int8": 8, "int4": 4}
MAX_ERROR = {"int8": 0.025, "int4": 0.2}
"""What a layer may lose where the user sets no budget: root mean square of its output's change."""
RANDOM_ROWS = "random rows, because no samples were given"
_SHRINKAGE = 300
"""Rows that the assumption that all inputs are alike is worth, beside what was seen of them."""


@dataclass(frozen=True)
class Settings:
    """How a model is quantised.

    Attributes:
        precision: ``int8`` or ``int4``.
        activation: Whether the layers quantise what enters them too.
        max_error: What a layer may lose, relative; None for the precision's usual budget.
        block_size: Of int4: values that share a scale.

    Raises:
        InvalidInputError: If one of them is not offered.
    """

    precision: str
    activation: Activation = "int8"
    max_error: float | None = None
    block_size: int = BLOCK_SIZES[0]

    def __post_init__(self) -> None:
        if self.precision not in BITS:
            raise InvalidInputError(f"precision must be {' or '.join(BITS)} (got {self.precision!r})")
        check_activation(self.activation)
        if self.max_error is not None and not 0 < self.max_error < 1:
            raise InvalidInputError(f"the error budget must lie between 0 and 1 (got {self.max_error})")
        if self.block_size not in BLOCK_SIZES:
            raise InvalidInputError(
                f"the block size must be {' or '.join(map(str, BLOCK_SIZES))} (got {self.block_size})"
            )

    @property
    def bits(self) -> int:
        """Bits of the factors."""
        return BITS[self.precision]

    @property
    def budget(self) -> float:
        """What a layer may lose."""
        return MAX_ERROR[self.precision] if self.max_error is None else self.max_error


def entering_rows(model: Path, samples: Sequence[Arrays]) -> Rows:
    """Run a portable file in plain ONNX Runtime and keep what enters each of its structured layers.

    Args:
        model: The file.
        samples: Inputs by name.

    Raises:
        InvalidInputError: If the runtime refuses the file, a sample does not fit the model or is empty, a
            layer cannot be observed, or NaN or infinity enters one.
        DiskFullError: If the model does not fit into the system's temporary folder once more.
    """
    tapped = read_portable(model)
    for index, sample in enumerate(samples):
        _check_sample(tapped, sample, index)
    names = [layer.name for layer in tapped.layers]
    Taps()(tapped.graph)
    with scratch_folder() as folder:
        path = folder / model.name
        save_mapped(tapped.graph, path)
        found = run_stock(path, samples, shown=model)
    entering = {name: [outputs[tap_names(name)[0]] for outputs in found] for name in names}
    rows = {
        name: np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])
        for name, arrays in entering.items()
    }
    for name, own in rows.items():
        if not np.isfinite(own).all():
            raise InvalidInputError(f"the samples feed layer {name!r} NaN or infinity; give other samples")
    return rows


def _check_sample(model: PortableModel, sample: Arrays, index: int) -> None:
    check_inputs(model.inputs, sample)
    for name, array in sample.items():
        if array.size == 0:
            raise InvalidInputError(f"input {name!r} of sample {index} is empty; give other samples")


def random_rows(model: PortableModel) -> Rows:
    """Standard normal rows for every layer: what to judge by where nothing is known of its inputs."""
    random = np.random.default_rng(0)
    return {
        layer.name: random.standard_normal((MOST_ROWS, layer.in_features)).astype(np.float32)
        for layer in model.layers
    }


def quantize_model(
    model: PortableModel,
    settings: Settings,
    judged: Rows,
    seen: Rows | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[LayerQuantization, ...]:
    """Quantise the layers of a model that stay within the budget.

    Args:
        model: Its graph is changed.
        settings: How.
        judged: Rows to measure each layer's error on; a layer that none enters stays as it is.
        seen: Rows to choose the factors by; None, or none of a layer, counts all its inputs alike.
        progress: Told each layer's name before its turn.

    Returns:
        What became of every layer.

    Raises:
        InvalidInputError: If the model has no layer that could be quantised, a layer's factors hold NaN or
            infinity, or no layer stays within the budget.
    """
    outcomes: list[LayerQuantization] = []
    chosen: dict[str, QuantizedBlastMatrix] = {}
    for layer in model.layers:
        if progress is not None:
            progress(layer.name)
        outcome, matrix = _quantize_layer(layer, settings, judged[layer.name], (seen or {}).get(layer.name))
        outcomes.append(outcome)
        if matrix is not None:
            chosen[layer.name] = matrix
    if not chosen:
        raise InvalidInputError(_nothing_done(model, settings, outcomes))
    Quantize(chosen, settings.activation)(model.graph)
    return tuple(outcomes)


def _quantize_layer(
    layer: StructuredLayer, settings: Settings, judged: NDArray[Any], seen: NDArray[Any] | None
) -> tuple[LayerQuantization, QuantizedBlastMatrix | None]:
    size = layer.factor_bytes
    obstacle = _obstacle(layer, judged)
    if obstacle is not None:
        return LayerQuantization(layer.name, None, None, size, size, obstacle), None
    original = layer.matrix()
    moment = None if seen is None or len(seen) == 0 else _second_moment(seen)
    try:
        matrix = quantize(original, settings.bits, block_size=settings.block_size, second_moment=moment)
    except InvalidInputError as fault:
        raise InvalidInputError(f"layer {layer.name!r} cannot be quantised: {fault}") from fault
    rows = judged[pick_rows(len(judged))].astype(np.float32)
    bias = layer.bias()
    error = deviation(matrix.apply(rows, bias, settings.activation), original.apply(rows, bias)).rms
    # Written so that NaN is over the budget.
    if not error <= settings.budget:
        reason = f"error {error:.4f} is over the budget {settings.budget:g}"
        return LayerQuantization(layer.name, None, error, size, size, reason), None
    return LayerQuantization(layer.name, settings.bits, error, matrix.bytes, size, ""), matrix


def _obstacle(layer: StructuredLayer, judged: NDArray[Any]) -> str | None:
    if layer.quantisation is not None:
        return "it is quantised already"
    if layer.operator is not BLAST_LINEAR:
        return f"it is {layer.operator.name}, and only {BLAST_LINEAR.name} can be quantised"
    if layer.dtype != "float32":
        return f"it is {layer.dtype}, and only float32 can be quantised"
    return None if len(judged) else "no row of the samples enters it, so its error is not known"


def _second_moment(rows: NDArray[Any]) -> NDArray[np.float64]:
    """``E[x x^T]``, shrunk towards a multiple of the identity, the less the more rows there are."""
    wide = rows.astype(np.float64)
    seen = wide.T @ wide / len(wide)
    share = _SHRINKAGE / (_SHRINKAGE + len(wide))
    mean = float(np.trace(seen)) / len(seen)
    return (1 - share) * seen + share * (mean or 1.0) * np.eye(len(seen))


def _nothing_done(model: PortableModel, settings: Settings, outcomes: Sequence[LayerQuantization]) -> str:
    if not outcomes:
        return f"{model.path} has no structured layers, so there is nothing to quantise; compress it first"
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if not errors:
        return (
            f"no layer of {model.path} can be quantised ({outcomes[0].name}: {outcomes[0].reason}); "
            "use the model as it is"
        )
    return (
        f"no layer of {model.path} stays within the error budget {settings.budget:g} in {settings.precision} "
        f"(the least error is {min(errors):.4f}); raise the budget or use more bits"
    )
