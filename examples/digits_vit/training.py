"""Trains one model from scratch under a budget of operations, and measures what it has become."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from model import DigitsViT, Linear, LowRankLinear, layer_sizes
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import blast_deploy as bd

METHODS = ("dense", "low-rank", "BLAST", "GBLR")
BLOCKS = 4
"""Of BLAST, each way."""


@dataclass(frozen=True)
class Settings:
    """What all runs of a sweep share; the last six are for GBLR alone.

    Attributes:
        width: Of a token.
        depth: Blocks.
        images: Images used, half of them to train on.
        epochs: Passes over them.
        batch: Images of a step.
        learning_rate: The highest, of all parameters but widths and locations.
        weight_decay: Of the same.
        surplus: Components of full width that GBLR begins with beside as many as the low-rank layer has.
        width_rate: Learning rate of widths.
        location_rate: Learning rate of locations.
        strength: Of the shrinking of widths; it only has to keep up with the falling budget.
        shrinking: Share of the steps in which the budget falls to the one that is meant.
        sigma: Of the mask's Gaussian at first and when the budget is reached; infinite from then on.
    """

    width: int = 64
    depth: int = 2
    images: int = 1797
    epochs: int = 25
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    surplus: int = 2
    width_rate: float = 1e-3
    location_rate: float = 2e-4
    strength: float = 10.0
    shrinking: float = 0.5
    sigma: tuple[float, float] = (8.0, 100.0)


@dataclass(frozen=True)
class Run:
    """One trained model.

    Attributes:
        method: One of ``METHODS``.
        keep: Share of the dense layers' parameters that was asked for.
        seed: Of initialisation, order and split.
        flops: Operations of the blocks' layers for one token, counted in the finished model.
        dense_flops: The same of the dense model.
        accuracy: On the half of the images that was not trained on.
        cpu_seconds: Of training and measuring.
    """

    method: str
    keep: float
    seed: int
    flops: int
    dense_flops: int
    accuracy: float
    cpu_seconds: float


def train(method: str, keep: float, seed: int, settings: Settings) -> Run:
    """Train one model and measure it; GBLR is frozen first, so that its operations are what it will cost."""
    began = time.process_time()
    torch.manual_seed(seed)
    (images, classes), unseen = load(settings.images, seed)
    model = DigitsViT(layer_maker(method, keep, settings), width=settings.width, depth=settings.depth)
    optimizer = torch.optim.AdamW(
        bd.parameter_groups(
            model,
            learning_rate=settings.learning_rate,
            width_rate=settings.width_rate,
            location_rate=settings.location_rate,
            weight_decay=settings.weight_decay,
        )
    )
    steps = settings.epochs * math.ceil(len(images) / settings.batch)
    rates = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.2)
    structure = StructureSearch(model, optimizer, keep, steps, settings) if method == "GBLR" else None
    for chosen in batches(len(images), settings):
        optimizer.zero_grad()
        functional.cross_entropy(model(images[chosen]), classes[chosen]).backward()
        optimizer.step()
        schedule.step()
        if structure is not None:
            structure.step()
    bd.freeze(model)
    dense = DigitsViT(nn.Linear, width=settings.width, depth=settings.depth)
    return Run(
        method=method,
        keep=keep,
        seed=seed,
        flops=bd.model_flops(model.blocks),
        dense_flops=bd.model_flops(dense.blocks),
        accuracy=accuracy(model, *unseen),
        cpu_seconds=time.process_time() - began,
    )


class StructureSearch:
    """Lets a GBLR model find its structure while it trains: the budget falls, then the widths stay."""

    def __init__(
        self, model: DigitsViT, optimizer: torch.optim.Optimizer, keep: float, steps: int, settings: Settings
    ) -> None:
        sizes = layer_sizes(settings.width, settings.depth)
        self._model, self._first = model, bd.model_flops(model.blocks)
        self._last = 2 * sum(budget(m, n, keep) for m, n in sizes)
        self._layers = [layer for layer in model.modules() if isinstance(layer, bd.GaudiGblrLinear)]
        self._steps, self._done = max(1, int(settings.shrinking * steps)), 0
        self._annealing = bd.SigmaAnnealing(model, self._steps, *settings.sigma)
        self._shrinkage = bd.WidthShrinkage(model.blocks, optimizer, strength=settings.strength)

    def step(self) -> None:
        """Take the step that follows the optimizer's."""
        self._done += 1
        if self._done > self._steps:
            return
        fallen = self._done / self._steps
        self._shrinkage.retarget(bd.Flops(round(self._first + fallen * (self._last - self._first))))
        self._annealing.step()
        self._shrinkage.step()
        if self._done == self._steps:
            self._settle()

    def _settle(self) -> None:
        self._shrinkage.meet_target()
        for layer in self._layers:
            layer.sigma.fill_(math.inf)
            for widths in (layer.u_width, layer.v_width):
                widths.requires_grad_(False)
                widths.grad = None


def layer_maker(method: str, keep: float, settings: Settings) -> Linear:
    """What makes the layers of a method, no dearer than low rank; BLAST of rank 1 is, by a little."""

    def make(n: int, m: int) -> nn.Module:
        if method == "dense":
            return nn.Linear(n, m)
        rank = low_rank(m, n, keep)
        if method == "low-rank":
            return LowRankLinear(n, m, rank)
        if method == "BLAST":
            return bd.BlastLinear(n, m, blocks=BLOCKS, rank=max(1, rank * (m + n) // (m + n + BLOCKS**2)))
        components = min(rank + settings.surplus, m, n)
        return bd.GaudiGblrLinear(n, m, components=components, sigma=settings.sigma[0])

    return make


def low_rank(m: int, n: int, keep: float) -> int:
    """The rank whose layer keeps nearest to a share of the parameters, at least 1."""
    return max(1, round(keep * m * n / (m + n)))


def budget(m: int, n: int, keep: float) -> int:
    """Parameters of that layer."""
    return low_rank(m, n, keep) * (m + n)


def load(images: int, seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Split the first so many of scikit-learn's digits at random: images, float (N, 8, 8), and classes."""
    digits = load_digits()
    pixels = torch.tensor(digits.images[:images], dtype=torch.float32)
    pixels = (pixels - pixels.mean()) / pixels.std()
    classes = torch.tensor(digits.target[:images])
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))
    halves = order.chunk(2)
    return (pixels[halves[0]], classes[halves[0]]), (pixels[halves[1]], classes[halves[1]])


def batches(images: int, settings: Settings) -> Iterator[Tensor]:
    """Indices of every step of every epoch."""
    for _ in range(settings.epochs):
        yield from torch.randperm(images).split(settings.batch)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, classes: Tensor) -> float:
    """Share of the images whose class the model names."""
    model.eval()
    return float((model(images).argmax(1) == classes).float().mean())
