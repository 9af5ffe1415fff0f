"""How far from float64 truth a correct implementation can be: a proven bound, nothing tuned.

In arithmetic of unit roundoff u = eps / 2, a sum of k products in whatever order, with or without fused
multiply-add, satisfies |computed - exact| <= gamma(k) * sum |a||b|, with gamma(k) = k u / (1 - k u)
(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). Here such sums are nested: q terms in
z = V x, b2 terms in w = sum S * z, r terms in U w, and one addition of the bias. Roundings multiply along a
path, so with K = q + b2 + r + 1, component by component,

    |computed - exact| <= gamma(K) * (|U| (|S| * (|V| |x|)) + |bias|).

Multiplied out instead, each weight is rounded once and there are n terms: K = n + 2. Storing an intermediate
value at lower precision than it was summed in is one rounding of the k. What is stored in a narrower type
than it is computed in is rounded once more, by at most u of that type times its magnitude. The truth's own
error is the same with float64's u, and is added. The numbers of the table are too near 1 to underflow.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np
from cases import Problem
from numpy.typing import NDArray

from blast_deploy.structures.blast.matrix import BlastMatrix

Float64 = NDArray[np.float64]


def truth(problem: Problem) -> Float64:
    """The layer in float64, block by block from the definition (not as ``BlastMatrix.apply`` does it)."""
    return _blockwise(problem.matrix, problem.x, problem.bias)


def bound(problem: Problem, dtype: Any, *, multiplied_out: bool = False, computed_in: Any = None) -> Float64:
    """Largest error of each output value, as derived above."""
    matrix = problem.matrix
    absolute = dataclasses.replace(matrix, u=np.abs(matrix.u), s=np.abs(matrix.s), v=np.abs(matrix.v))
    magnitude = _blockwise(absolute, np.abs(problem.x), np.abs(problem.bias))
    terms = matrix.v.shape[2] + matrix.blocks[1] + matrix.rank + 1
    if multiplied_out:
        terms = matrix.in_features + 2
    inner = (gamma(terms, computed_in or dtype) + gamma(terms, np.float64)) * magnitude
    if computed_in is None:
        return inner
    return inner + _roundoff(dtype) * (np.abs(truth(problem)) + inner)


def check(
    found: NDArray[Any],
    problem: Problem,
    dtype: Any,
    *,
    multiplied_out: bool = False,
    computed_in: Any = None,
) -> None:
    """Assert shape, element type, and every value within the bound."""
    expected = truth(problem)
    assert found.shape == expected.shape, f"shape {found.shape}, must be {expected.shape}"
    assert found.dtype == dtype, f"dtype {found.dtype}, must be {dtype}"
    allowed = bound(problem, dtype, multiplied_out=multiplied_out, computed_in=computed_in)
    error = np.abs(found.astype(np.float64) - expected)
    # Written so that NaN fails.
    inside = error <= allowed
    assert inside.all(), f"{(~inside).sum()} of {inside.size} values off, the worst by {error.max():.3g}"


def gamma(terms: int, dtype: Any) -> float:
    """Relative error of a sum of so many products, as derived above."""
    roundoff = _roundoff(dtype)
    assert terms * roundoff < 0.5, f"{terms} terms are too many for {dtype}: mark the case large"
    return terms * roundoff / (1 - terms * roundoff)


def _roundoff(dtype: Any) -> float:
    return float(ml_dtypes.finfo(dtype).eps) / 2


def _blockwise(matrix: BlastMatrix, x: NDArray[Any], bias: NDArray[Any]) -> Float64:
    u, s, v = (factor.astype(np.float64) for factor in (matrix.u, matrix.s, matrix.v))
    p, q = u.shape[1], v.shape[2]
    y = np.zeros((*x.shape[:-1], matrix.out_features)) + bias.astype(np.float64)
    for i in range(u.shape[0]):
        for j in range(v.shape[0]):
            rows, columns = slice(i * p, (i + 1) * p), slice(j * q, (j + 1) * q)
            block = (u[i] * s[i, j]) @ v[j]
            part = x[..., columns].astype(np.float64)
            height = y[..., rows].shape[-1]
            y[..., rows] += part @ block[:height, : part.shape[-1]].T
    return y
