"""The table of cases: one line is one layer and one input, run through every implementation.

A new odd shape is one more line here.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.structures.blast.matrix import BlastMatrix


@dataclass(frozen=True)
class Case:
    """A layer's sizes and the leading axes of its input.

    Attributes:
        name: What the test is called.
        out_features: m.
        in_features: n.
        blocks: b1 and b2.
        rank: r.
        leading: Shape of the input without its last axis.
        bias: Whether the layer adds one.
        large: Whether it is too large for half precision, whose error bound would reach 1.
    """

    name: str
    out_features: int
    in_features: int
    blocks: tuple[int, int]
    rank: int
    leading: tuple[int, ...]
    bias: bool = True
    large: bool = False


CASES = (
    Case("one-of-everything", 1, 1, (1, 1), 1, (1,)),
    Case("rank-one", 12, 8, (4, 2), 1, (5,)),
    Case("divides", 16, 24, (4, 4), 6, (7,)),
    Case("square", 16, 16, (4, 4), 4, (3,)),
    Case("primes", 13, 17, (3, 5), 7, (11,)),
    Case("more-block-rows", 12, 10, (6, 2), 3, (4,)),
    Case("more-block-columns", 10, 12, (2, 6), 3, (4,)),
    Case("one-block", 9, 7, (1, 1), 3, (4,)),
    Case("one-block-row", 9, 14, (1, 7), 2, (4,)),
    Case("rows-do-not-divide", 10, 12, (4, 3), 5, (4,)),
    Case("columns-do-not-divide", 12, 10, (3, 4), 5, (4,)),
    Case("last-blocks-all-padding", 5, 9, (4, 4), 3, (4,)),
    Case("as-many-blocks-as-features", 6, 6, (6, 6), 2, (3,)),
    Case("more-blocks-than-features", 3, 2, (5, 4), 2, (3,)),
    Case("rank-above-sizes", 5, 4, (2, 2), 37, (3,)),
    Case("no-bias", 14, 11, (2, 3), 4, (6,), bias=False),
    Case("one-row", 33, 31, (2, 2), 17, (1,)),
    Case("zero-rows", 13, 17, (3, 5), 7, (0,)),
    Case("vector", 13, 17, (3, 5), 7, ()),
    Case("three-axes", 13, 17, (3, 5), 7, (2, 3)),
    Case("four-axes", 13, 17, (3, 5), 7, (2, 1, 3)),
    Case("zero-rows-in-three-axes", 13, 17, (3, 5), 7, (2, 0)),
    Case("many-rows", 40, 24, (4, 4), 8, (131,)),
    Case("panel-edges", 65, 97, (2, 3), 49, (57,)),
    Case("long-rank", 48, 40, (2, 2), 293, (9,), large=True),
    Case("transformer", 384, 384, (4, 4), 94, (2, 16), large=True),
    Case("wide-transformer", 1536, 384, (4, 4), 152, (64,), large=True),
    Case("large-and-uneven", 1021, 769, (7, 3), 211, (70,), large=True),
)


@dataclass(frozen=True)
class Problem:
    """A case with numbers in it.

    Attributes:
        case: Where it comes from.
        matrix: The weight, at the element type under test.
        bias: (out_features,) at that type; zeros where the case has none.
        x: (*leading, in_features) at that type.
    """

    case: Case
    matrix: BlastMatrix
    bias: NDArray[Any]
    x: NDArray[Any]


def make(case: Case, dtype: Any) -> Problem:
    """Fill a case with random numbers, the factors' padding too, so that whoever lets it count is found out.

    The scales of the factors keep the scale of activations, so no value comes near under- or overflow.
    """
    generator = np.random.default_rng(zlib.crc32(case.name.encode()))
    b1, b2 = case.blocks
    p, q = -(-case.out_features // b1), -(-case.in_features // b2)

    def normal(*shape: int, scale: float = 1.0) -> NDArray[Any]:
        return (scale * generator.standard_normal(shape)).astype(dtype)

    matrix = BlastMatrix(
        normal(b1, p, case.rank, scale=case.rank**-0.5),
        normal(b1, b2, case.rank),
        normal(b2, case.rank, q, scale=case.in_features**-0.5),
        case.out_features,
        case.in_features,
    )
    bias = normal(case.out_features) if case.bias else np.zeros(case.out_features, dtype)
    return Problem(case, matrix, bias, normal(*case.leading, case.in_features))
