"""The proximal step that lets layers find their own budgets: widths shrink until the model is small enough.

Source: Gaudi-GBLR, arXiv 2310.18882, which minimises the loss plus lambda times the sum of the widths by
proximal gradient descent: after each step of the optimizer every width is soft-thresholded by its learning
rate times lambda and clamped to 0 .. 1. What the loss needs grows back; what it does not dies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.module import BlastLinear
from blast_deploy.structures.gblr.gaudi import GaudiGblrLinear
from blast_deploy.structures.gblr.mask import live_components
from blast_deploy.structures.gblr.module import GblrLinear

_WIDTHS = ("u_width", "v_width")
_LOCATIONS = ("u_location", "v_location")
_BISECTIONS = 60


@dataclass(frozen=True)
class MeanWidth:
    """A target: the mean width of all components of all layers, dead ones counting as 0.

    Attributes:
        limit: Fraction of the axes.
    """

    limit: float

    def __post_init__(self) -> None:
        if not 0 <= self.limit <= 1:
            raise InvalidInputError(f"the mean width must be in 0 to 1 (got {self.limit})")

    def measure(self, model: nn.Module) -> float:
        """The mean width of a model, every layer counting alike."""
        means = [_mean_width(layer) for layer in _layers(model)]
        return sum(means) / max(len(means), 1)

    def weight(self, layer: GaudiGblrLinear, side: str) -> float:
        """How much a width counts: all alike."""
        return 1.0


@dataclass(frozen=True)
class Flops:
    """A target: operations for one row in all linear layers of a model, dense ones too.

    Attributes:
        limit: Operations; see :func:`model_flops`.
    """

    limit: int

    def measure(self, model: nn.Module) -> float:
        """Operations for one row."""
        return float(model_flops(model))

    def weight(self, layer: GaudiGblrLinear, side: str) -> float:
        """How much a width counts: as the operations that it stands for, 1 on average over both sides."""
        size = layer.out_features if side == "u_width" else layer.in_features
        return 2 * size / (layer.out_features + layer.in_features)


Target = MeanWidth | Flops


def model_flops(model: nn.Module) -> int:
    """Operations for one row in all linear layers of a model, each layer counted once, biases left out.

    GBLR layers count as evaluation has them at infinite sigma, by rounded widths, without dead components.
    """
    return sum(_flops(layer) for layer in model.modules())


def parameter_groups(
    model: nn.Module,
    *,
    learning_rate: float,
    width_rate: float,
    location_rate: float,
    weight_decay: float = 0.0,
) -> list[dict[str, Any]]:
    """Sort a model's parameters into optimizer groups: widths and locations with rates of their own.

    Neither decays: the proximal step shrinks widths, and locations are on a circle.

    Args:
        model: Any module.
        learning_rate: Of all other parameters.
        width_rate: Of widths.
        location_rate: Of locations.
        weight_decay: Of all other parameters.
    """
    widths = [getattr(layer, name) for layer in _layers(model) for name in _WIDTHS]
    locations = [getattr(layer, name) for layer in _layers(model) for name in _LOCATIONS]
    own = {id(parameter) for parameter in (*widths, *locations)}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in own]
    groups: list[dict[str, Any]] = [{"params": rest, "lr": learning_rate, "weight_decay": weight_decay}]
    for parameters, rate in ((widths, width_rate), (locations, location_rate)):
        if parameters:
            groups.append({"params": parameters, "lr": rate, "weight_decay": 0.0})
    return groups


class WidthShrinkage:
    """Takes the proximal step on widths after each step of an optimizer, as long as the target is not met."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        strength: float,
        target: Target | None = None,
    ) -> None:
        """Find the layers and the rates of their widths.

        Args:
            model: Holds the layers.
            optimizer: Steps their widths; its rates are read at each step, so a schedule may change them.
            strength: Lambda; a width loses its rate times this at each step.
            target: Shrink only while the model is above it; None to shrink always.

        Raises:
            InvalidInputError: If there is no layer, the optimizer lacks the widths of one, or the strength is
                negative.
        """
        self._layers = list(_layers(model))
        if not self._layers or strength < 0:
            raise InvalidInputError(
                "the model must hold a GaudiGblrLinear and the strength must not be negative "
                f"(got {len(self._layers)} layers and {strength})"
            )
        groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
        missing = [
            name for layer in self._layers for name in _WIDTHS if id(getattr(layer, name)) not in groups
        ]
        if missing:
            raise InvalidInputError(
                f"the optimizer does not step {missing[0]} of {len(missing)} sides of layers; "
                "give it parameter_groups(model, ...)"
            )
        self._groups = groups
        self._model, self._strength, self._target = model, strength, target

    def retarget(self, target: Target | None) -> None:
        """Aim at another target from now on, so that a budget can fall little by little."""
        self._target = target

    @torch.no_grad()
    def step(self) -> bool:
        """Shrink and clamp the widths and let locations go around; call it after ``optimizer.step()``.

        Returns:
            Whether widths were shrunk: False where the target is met.
        """
        shrinks = self._target is None or self._target.measure(self._model) > self._target.limit
        for layer in self._layers:
            for name in _WIDTHS:
                widths: nn.Parameter = getattr(layer, name)
                rate = float(self._groups[id(widths)]["lr"]) * self._strength if shrinks else 0.0
                _shrink(widths, rate * self._weight(layer, name))
            for name in _LOCATIONS:
                locations: nn.Parameter = getattr(layer, name)
                locations.sub_(locations.floor())
        return shrinks

    @torch.no_grad()
    def meet_target(self) -> None:
        """Shrink all widths at once by as little as meets the target; do so before training on without steps.

        Raises:
            InvalidInputError: If there is no target, or it is below what the rest of the model takes.
        """
        target = self._target
        if target is None:
            raise InvalidInputError("there is no target to meet; give WidthShrinkage one")
        before = {id(each): each.detach().clone() for each in self._widths()}
        least, most = 0.0, 1.0 / min(self._weight(layer, name) for layer in self._layers for name in _WIDTHS)
        if not self._measure(target, most, before) <= target.limit:
            self._measure(target, 0.0, before)
            raise InvalidInputError(
                f"the target {target.limit} is below what the model takes without any component; raise it"
            )
        if self._measure(target, 0.0, before) <= target.limit:
            return
        for _ in range(_BISECTIONS):
            middle = (least + most) / 2
            least, most = (
                (least, middle) if self._measure(target, middle, before) <= target.limit else (middle, most)
            )
        self._measure(target, most, before)

    def _measure(self, target: Target, amount: float, before: dict[int, Tensor]) -> float:
        """Shrink the widths that were before by an amount, and measure the model."""
        for layer in self._layers:
            for name in _WIDTHS:
                widths: nn.Parameter = getattr(layer, name)
                widths.copy_(before[id(widths)])
                _shrink(widths, amount * self._weight(layer, name))
        return target.measure(self._model)

    def _widths(self) -> Iterator[nn.Parameter]:
        for layer in self._layers:
            for name in _WIDTHS:
                yield getattr(layer, name)

    def _weight(self, layer: GaudiGblrLinear, name: str) -> float:
        return 1.0 if self._target is None else self._target.weight(layer, name)


def _shrink(widths: nn.Parameter, threshold: float) -> None:
    """Soft-threshold and clamp to 0 .. 1, in place; widths are never negative, so that is a difference."""
    widths.sub_(threshold).clamp_(0, 1)


def _layers(model: nn.Module) -> Iterator[GaudiGblrLinear]:
    return (layer for layer in model.modules() if isinstance(layer, GaudiGblrLinear))


def _live(layer: GaudiGblrLinear) -> Tensor:
    rows = live_components(layer.u_width, layer.out_features)
    return rows & live_components(layer.v_width, layer.in_features)


def _mean_width(layer: GaudiGblrLinear) -> float:
    widths = (layer.u_width + layer.v_width).detach() / 2
    return float((widths * _live(layer)).mean()) if layer.components else 0.0


def _flops(layer: nn.Module) -> int:
    if isinstance(layer, GaudiGblrLinear):
        entries = torch.round(layer.u_width * layer.out_features) + torch.round(
            layer.v_width * layer.in_features
        )
        return 2 * layer.rank_per_component * int((entries * _live(layer)).sum())
    if isinstance(layer, GblrLinear):
        return 2 * (layer.u.numel() + layer.v.numel())
    if isinstance(layer, BlastLinear):
        b1, b2 = layer.blocks
        return 2 * layer.rank * (layer.out_features + layer.in_features + b1 * b2)
    return 2 * layer.weight.numel() if isinstance(layer, nn.Linear) else 0
