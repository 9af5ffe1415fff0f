"""The covariance of each layer's inputs over calibration data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from blast_deploy.compression.calibration import Batch
from blast_deploy.errors import BlastDeployError, InvalidInputError

MASK = "attention_mask"
_PANEL = 384


class _Sum:
    """The running ``sum x x^T`` of one layer's input rows, lower block triangle only."""

    def __init__(self, width: int, device: torch.device) -> None:
        self.rows = 0
        self._total = torch.zeros(width, width, device=device)

    def add(self, rows: Tensor) -> None:
        """Add rows, float (count, width)."""
        self.rows += len(rows)
        rows = rows.to(self._total.dtype)
        for start in range(0, rows.shape[1], _PANEL):
            panel = slice(start, start + _PANEL)
            self._total[start:, panel].addmm_(rows[:, start:].mT, rows[:, panel])

    def mean(self) -> Tensor:
        """Give ``E[x x^T]``, float32 (width, width), symmetric."""
        lower = self._total.tril()
        return ((lower + lower.tril(-1).mT) / max(self.rows, 1)).cpu()


@torch.no_grad()
def collect(
    module: nn.Module, layers: Mapping[str, nn.Linear], batches: Iterable[Batch]
) -> dict[str, Tensor]:
    """Run the model in evaluation mode and average ``x x^T`` over the input rows of each layer.

    Rows that the batch's ``attention_mask`` marks as padding are left out wherever a layer's input has the
    mask's leading shape.

    Args:
        module: The model.
        layers: Qualified name to layer.
        batches: Keyword arguments of the model, one call each.

    Returns:
        Name to float32 (in_features, in_features), symmetric positive semidefinite.

    Raises:
        InvalidInputError: If the model does not take the inputs, or a layer was not reached or met NaN or
            infinity.
    """
    sums = {name: _Sum(layer.in_features, layer.weight.device) for name, layer in layers.items()}
    mask: Tensor | None = None

    def watch(name: str) -> Any:
        def add(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            (x,) = inputs
            masked = mask is not None and x.shape[:-1] == mask.shape
            sums[name].add(x[mask] if masked else x.reshape(-1, x.shape[-1]))

        return add

    handles = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    training = module.training
    module.eval()
    try:
        for batch in batches:
            mask = batch[MASK].bool() if MASK in batch else None
            _call(module, batch)
    finally:
        module.train(training)
        for handle in handles:
            handle.remove()
    return {name: _checked(name, total) for name, total in sums.items()}


def _call(module: nn.Module, batch: Batch) -> None:
    try:
        module(**batch)
    except (TypeError, ValueError, IndexError, RuntimeError, BlastDeployError) as error:
        reason = str(error).strip().split("\n", 1)[0].rstrip(".")
        raise InvalidInputError(
            f"the model cannot run on the calibration inputs {', '.join(batch)} ({reason}); "
            "give inputs that it takes"
        ) from error


def _checked(name: str, total: _Sum) -> Tensor:
    if total.rows == 0:
        raise InvalidInputError(
            f"the calibration inputs never reach layer {name}; leave it out or give inputs that use it"
        )
    covariance = total.mean()
    if not bool(torch.isfinite(covariance).all()):
        raise InvalidInputError(
            f"the calibration inputs of layer {name} hold NaN or infinity; mend the inputs or the model"
        )
    return covariance
