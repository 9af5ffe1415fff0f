"""The layers that are timed, and what they have to reach."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from blast_deploy.structures.blast.matrix import BlastMatrix, cost

ROWS = (1, 4, 16, 64, 197, 512)
_GOALS = ((1, 1.1), (16, 1.3), (64, 1.0))
_GOAL_OF_MANY_ROWS = 0.93


@dataclass(frozen=True)
class Layer:
    """A BLAST layer to time.

    Attributes:
        out_features: m.
        in_features: n.
        blocks: b1 and b2.
        rank: r.
    """

    out_features: int
    in_features: int
    blocks: tuple[int, int]
    rank: int

    @property
    def name(self) -> str:
        """Sizes, blocks, rank and the share of the parameters that is kept."""
        b1, b2 = self.blocks
        blocks = str(b1) if b1 == b2 else f"{b1}x{b2}"
        return f"{self.out_features}x{self.in_features} b{blocks} r{self.rank}, {self.kept:.0%}"

    @property
    def parameters(self) -> int:
        """Parameters of the BLAST layer, without a bias."""
        return cost(self.out_features, self.in_features, self.blocks, self.rank).parameters

    @property
    def dense_parameters(self) -> int:
        """Parameters of the dense layer in its place."""
        return self.out_features * self.in_features

    @property
    def kept(self) -> float:
        """BLAST parameters over dense ones."""
        return self.parameters / self.dense_parameters

    def matrix(self, seed: int = 0) -> BlastMatrix:
        """Random float32 factors, scaled so that outputs have the inputs' scale."""
        random = np.random.default_rng(seed)
        (b1, b2), r = self.blocks, self.rank
        p, q = math.ceil(self.out_features / b1), math.ceil(self.in_features / b2)
        shapes = ((b1, p, r), (b1, b2, r), (b2, r, q))
        scales = (r**-0.5, 1.0, self.in_features**-0.5)
        u, s, v = (
            (scale * random.standard_normal(shape)).astype(np.float32)
            for shape, scale in zip(shapes, scales, strict=True)
        )
        return BlastMatrix(u, s, v, self.out_features, self.in_features)


LAYERS = (
    # Those of the prototype that the project began with.
    Layer(4096, 4096, (16, 16), 992),
    Layer(11008, 4096, (16, 16), 1488),
    Layer(768, 768, (4, 4), 190),
    Layer(768, 768, (4, 4), 114),
    Layer(3072, 768, (4, 4), 306),
    Layer(3072, 768, (4, 4), 183),
    Layer(384, 1536, (4, 4), 152),
    # Those of MiniLM, and odd ones: ranks just past a panel, primes, blocks that do not divide.
    Layer(384, 384, (4, 4), 94),
    Layer(384, 384, (4, 4), 56),
    Layer(1536, 384, (4, 4), 152),
    Layer(1000, 768, (5, 5), 211),
    Layer(2304, 768, (3, 3), 287),
    Layer(2304, 768, (3, 3), 173),
    Layer(1152, 4608, (6, 6), 457),
    Layer(509, 127, (5, 3), 49),
    Layer(1021, 769, (7, 3), 131),
)
QUICK = (Layer(768, 768, (4, 4), 190), Layer(384, 384, (4, 4), 94), Layer(509, 127, (5, 3), 49))
QUICK_ROWS = (1, 16, 197)


def goal(rows: int, kept: float) -> float:
    """How many times as fast as ONNX Runtime's dense MatMul the kernel is to be.

    Args:
        rows: Rows of X.
        kept: BLAST parameters over dense ones.
    """
    factor = next((factor for most, factor in _GOALS if rows <= most), _GOAL_OF_MANY_ROWS)
    return factor / kept
