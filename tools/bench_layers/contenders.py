"""What is timed: each contender holds copies of one layer and runs them one after the other."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from blast_deploy.bench.caches import TYPICAL, cache_sizes
from blast_deploy.bench.timing import Call
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.blast.module import BlastLinear
from tools.bench_layers import models
from tools.bench_layers.layers import Layer
from tools.bench_layers.sessions import in_turns, open_session

Name = Literal["kernel", "dense twin", "ORT dense", "ORT body", "torch dense", "torch BLAST"]
Caches = Literal["warm", "cold"]
Array = NDArray[Any]

NAMES: tuple[Name, ...] = ("kernel", "dense twin", "ORT dense", "ORT body", "torch dense", "torch BLAST")
STRUCTURED: frozenset[Name] = frozenset({"kernel", "ORT body", "torch BLAST"})
"""Contenders that hold the factors; the others hold the dense weight."""
GROUP = 8
"""Layers of one timed run: so few that it is short, so many that the runtime's own part of it is small."""
PAST_THE_CACHES = 2
"""Bytes of weights that follow each other when timing cold, in sizes of the last cache."""


@dataclass(frozen=True)
class Contender:
    """Copies of one layer in one implementation.

    Attributes:
        name: Which implementation.
        copies: How many layers it has.
        group: How many one run computes; each run takes the next, and the first follow the last.
        weight_bytes: Bytes of one layer's weights, without padding.
        prepare: Makes such runs on float32 rows (rows, in_features), always in the same memory.
        first: What the first layer gives for such rows.
    """

    name: Name
    copies: int
    group: int
    weight_bytes: int
    prepare: Callable[[Array], Call]
    first: Callable[[Array], Array]


@dataclass(frozen=True)
class Weights:
    """The weights of one layer, multiplied out once for all contenders."""

    layer: Layer
    matrix: BlastMatrix
    dense: Array

    @classmethod
    def draw(cls, layer: Layer) -> Weights:
        """Random weights."""
        matrix = layer.matrix()
        return cls(layer, matrix, matrix.dense().astype(np.float32))

    def matrices(self, copies: int) -> Iterator[BlastMatrix]:
        """The matrix, and others of its size that no runtime can take for the same."""
        for index in range(copies):
            yield dataclasses.replace(self.matrix, s=np.roll(self.matrix.s, index, axis=2))

    def denses(self, copies: int) -> Iterator[Array]:
        """The dense weight, and others of its size that no runtime can take for the same."""
        for index in range(copies):
            yield np.roll(self.dense, index, axis=0)


def weight_bytes(name: Name, layer: Layer) -> int:
    """Bytes of float32 weights that a contender reads for one layer."""
    return 4 * (layer.parameters if name in STRUCTURED else layer.dense_parameters)


def last_cache_bytes() -> int:
    """Size of the last level of cache."""
    return max((cache_sizes() or TYPICAL).values())


def copies_for(name: Name, layer: Layer, caches: Caches, last_cache: int) -> int:
    """How many layers follow each other: cold, their own bytes are twice the last cache or more.

    Where there are several groups, the last is as large as the others.
    """
    if caches == "warm":
        return 1
    copies = math.ceil(PAST_THE_CACHES * last_cache / weight_bytes(name, layer))
    return copies if copies < GROUP else math.ceil(copies / GROUP) * GROUP


def make(name: Name, weights: Weights, copies: int, threads: int = 1) -> Contender:
    """Make a contender."""
    group = min(copies, GROUP)
    own: Iterator[Array | BlastMatrix] = (
        weights.matrices(copies) if name in STRUCTURED else weights.denses(copies)
    )
    groups = [list(itertools.islice(own, group)) for _ in range(copies // group)]
    if name.startswith("torch"):
        prepare, first = _torch(groups)
    else:
        prepare, first = _sessions(groups, _MODELS[name], threads)
    return Contender(name, copies, group, weight_bytes(name, weights.layer), prepare, first)


_MODELS: dict[str, Callable[[Any], onnx.ModelProto]] = {
    "kernel": models.kernel_model,
    "dense twin": models.twin_model,
    "ORT dense": models.matmul_model,
    "ORT body": models.body_model,
}


def _sessions(
    groups: Sequence[Sequence[Any]], model: Callable[[Any], onnx.ModelProto], threads: int
) -> tuple[Callable[[Array], Call], Callable[[Array], Array]]:
    sessions = [open_session(model(layers), threads) for layers in groups]
    return in_turns(sessions), lambda x: sessions[0].run(["Y0"], {"X": x})[0]


def _torch(
    groups: Sequence[Sequence[Array | BlastMatrix]],
) -> tuple[Callable[[Array], Call], Callable[[Array], Array]]:
    torch.set_num_threads(1)
    layers = [[_torch_layer(weights) for weights in group] for group in groups]

    def prepare(x: Array) -> Call:
        rows = torch.from_numpy(x)
        cycle = itertools.cycle(layers)

        def call() -> None:
            with torch.inference_mode():
                for layer in next(cycle):
                    layer(rows)

        return call

    def first(x: Array) -> Array:
        with torch.inference_mode():
            return layers[0][0](torch.from_numpy(x)).numpy()

    return prepare, first


def _torch_layer(weights: Array | BlastMatrix) -> Callable[[torch.Tensor], torch.Tensor]:
    if isinstance(weights, BlastMatrix):
        return BlastLinear.from_matrix(weights)
    return functools.partial(torch.nn.functional.linear, weight=torch.from_numpy(weights))
