"""The table of GBLR cases, and how far from float64 truth a correct implementation of one can be.

The bound is that of ``bounds.py`` for nested sums: at most n terms in z_k = v_k . x, K terms in the sum over
the components, one addition of the bias, so with L = n + K + 1, component by component,

    |computed - exact| <= gamma(L) * (sum_k |u_k| (|v_k| . |x|) + |bias|).
"""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from bounds import gamma
from gblr_models import ODD, learned, odd, random
from numpy.typing import NDArray

from blast_deploy.structures.gblr.intervals import IntervalFactor
from blast_deploy.structures.gblr.matrix import GblrMatrix


@dataclass(frozen=True)
class GblrCase:
    """A layer's structure and the leading axes of its input.

    Attributes:
        name: What the test is called.
        matrix: The structure with float64 values.
        leading: Shape of the input without its last axis.
        large: Whether it is too large for half precision, whose error bound would reach 1.
    """

    name: str
    matrix: GblrMatrix
    leading: tuple[int, ...] = (3,)
    large: bool = False


GBLR_CASES = (
    *(GblrCase(name, odd(name)) for name in ODD),
    GblrCase("zero-rows", odd("wraps-around"), (0,)),
    GblrCase("vector", odd("wraps-around"), ()),
    GblrCase("three-axes", odd("wraps-around"), (2, 3)),
    GblrCase("zero-rows-in-three-axes", odd("no-components"), (2, 0)),
    GblrCase("one-column", random(9, 1, 4)),
    GblrCase("one-row-of-weight", random(1, 9, 4)),
    GblrCase("primes", random(13, 17, 7), (11,)),
    GblrCase("many-components", random(12, 10, 60, widest=0.3), (5,)),
    GblrCase("many-rows", random(40, 24, 9), (131,)),
    GblrCase("narrow-and-long", random(300, 700, 40, widest=0.05), (9,), large=True),
    GblrCase("learned-query", learned("query_50", np.float64), (2, 16), large=True),
    GblrCase("learned-output", learned("output_50", np.float64), (5,), large=True),
)


@dataclass(frozen=True)
class GblrProblem:
    """A case with numbers of the element type under test."""

    case: GblrCase
    matrix: GblrMatrix
    bias: NDArray[Any]
    x: NDArray[Any]


def make_gblr(case: GblrCase, dtype: Any) -> GblrProblem:
    """Round a case's values and draw its input; the scales keep that of activations."""
    generator = np.random.default_rng(zlib.crc32(case.name.encode()))
    m, n, k = case.matrix.out_features, case.matrix.in_features, max(case.matrix.components, 1)
    u = _scaled(case.matrix.u, k**-0.5, dtype)
    v = _scaled(case.matrix.v, n**-0.5, dtype)
    bias, x = generator.standard_normal(m), generator.standard_normal((*case.leading, n))
    return GblrProblem(case, GblrMatrix(u, v), bias.astype(dtype), x.astype(dtype))


def check_gblr(
    found: NDArray[Any], problem: GblrProblem, dtype: Any, *, multiplied_out: bool = False
) -> None:
    """Assert shape, element type, and every value within the bound."""
    expected = truth(problem.matrix, problem.x, problem.bias)
    magnitude = truth(_absolute(problem.matrix), np.abs(problem.x), np.abs(problem.bias))
    terms = problem.matrix.in_features + (2 if multiplied_out else problem.matrix.components + 1)
    allowed = (gamma(terms, dtype) + gamma(terms, np.float64)) * magnitude
    assert found.shape == expected.shape, f"shape {found.shape}, must be {expected.shape}"
    assert found.dtype == dtype, f"dtype {found.dtype}, must be {dtype}"
    error = np.abs(found.astype(np.float64) - expected)
    # Written so that NaN fails.
    inside = error <= allowed
    assert inside.all(), f"{(~inside).sum()} of {inside.size} values off, the worst by {error.max():.3g}"


def truth(matrix: GblrMatrix, x: NDArray[Any], bias: NDArray[Any]) -> NDArray[np.float64]:
    """The layer in float64, component by component on rolled axes (not as ``GblrMatrix`` does it)."""
    y = np.zeros((*x.shape[:-1], matrix.out_features)) + bias.astype(np.float64)
    u_first = v_first = 0
    for k in range(matrix.components):
        height, width = matrix.u.widths[k], matrix.v.widths[k]
        u = matrix.u.values[u_first : u_first + height].astype(np.float64)
        v = matrix.v.values[v_first : v_first + width].astype(np.float64)
        seen = np.roll(x.astype(np.float64), -matrix.v.starts[k], axis=-1)[..., :width]
        part = np.zeros(y.shape)
        part[..., :height] = (seen * v).sum(-1, keepdims=True) * u
        y += np.roll(part, matrix.u.starts[k], axis=-1)
        u_first, v_first = u_first + height, v_first + width
    return y


def _scaled(factor: IntervalFactor, scale: float, dtype: Any) -> IntervalFactor:
    return dataclasses.replace(factor, values=(factor.values * scale).astype(dtype))


def _absolute(matrix: GblrMatrix) -> GblrMatrix:
    u, v = (dataclasses.replace(side, values=np.abs(side.values)) for side in (matrix.u, matrix.v))
    return GblrMatrix(u, v)
