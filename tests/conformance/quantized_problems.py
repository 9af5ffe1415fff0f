"""The table of cases with integer factors, their truth by definition, and how far an implementation may be.

With activations left as floats the proven bound of ``bounds.py`` holds for the dequantised factors, each of
which is rounded once more. With quantised ones it holds for the two halves of the layer apart: what the
integers of X make of w, and what those of w make of Y. Between them a w within that bound of a half may
become either integer, which moves an output by a step of its group times a value of U.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from cases import Case
from numpy.typing import NDArray

from blast_deploy.structures.quantized_blast.matrix import Activation, QuantizedBlastMatrix

Float64 = NDArray[np.float64]
_ROUNDOFF = 2.0**-24
_GROUP = 32


@dataclass(frozen=True)
class QuantizedProblem:
    """A case with integers in it.

    Attributes:
        case: Where it comes from.
        matrix: The weight.
        bias: Float32 (out_features,).
        x: Float32 (*leading, in_features).
        activation: What becomes of X and w.
    """

    case: Case
    matrix: QuantizedBlastMatrix
    bias: NDArray[np.float32]
    x: NDArray[np.float32]
    activation: Activation


def make_quantized(case: Case, bits: int, activation: Activation) -> QuantizedProblem:
    """Fill a case with random integers and scales, the padding too; with 8 bits a row has one scale."""
    random = np.random.default_rng(zlib.crc32(f"{case.name}{bits}".encode()))
    (b1, b2), half, rank = case.blocks, 2 ** (bits - 1), case.rank
    p, q = -(-case.out_features // b1), -(-case.in_features // b2)
    block = 32 if rank % 2 else 64
    u_block, v_block = (rank, q) if bits == 8 else (block, block)

    def integers(low: int, high: int, *shape: int) -> NDArray[np.int8]:
        return random.integers(low, high, shape).astype(np.int8)

    def scales(size: float, *shape: int) -> NDArray[np.float32]:
        found = random.choice([-1, 1], shape) * random.uniform(0.5, 1.5, shape) * size
        # The kernels keep scales of blocks in bfloat16.
        kept = found if bits == 8 else found.astype(ml_dtypes.bfloat16)
        return kept.astype(np.float32)

    matrix = QuantizedBlastMatrix(
        integers(-half, half, b1, p, rank),
        scales(2 * rank**-0.5 / half, b1, p, math.ceil(rank / u_block)),
        integers(-127, 128, b1, b2, rank),
        integers(-half, half, b2, rank, q),
        scales(2 * case.in_features**-0.5 / half / 64, b2, rank, math.ceil(q / v_block)),
        case.out_features,
        case.in_features,
        bits,
        u_block,
        v_block,
    )
    bias = random.standard_normal(case.out_features) * case.bias
    x = random.standard_normal((*case.leading, case.in_features))
    return QuantizedProblem(case, matrix, bias.astype(np.float32), x.astype(np.float32), activation)


def truth(problem: QuantizedProblem) -> Float64:
    """The layer by its definition, block by block (not as ``QuantizedBlastMatrix.apply`` does it)."""
    return _compute(problem)[0]


def check(found: NDArray[Any], problem: QuantizedProblem) -> None:
    """Assert shape, element type, and every value within the bound."""
    expected, allowed = _compute(problem)
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    error = np.abs(found.astype(np.float64) - expected)
    inside = error <= allowed
    assert inside.all(), f"{(~inside).sum()} of {inside.size} values off, the worst by {error.max():.3g}"


def _compute(problem: QuantizedProblem) -> tuple[Float64, Float64]:
    """Truth and bound."""
    matrix, quantised = problem.matrix, problem.activation == "int8"
    u = _worth(matrix.uq, matrix.u_scale, matrix.u_block_size)
    v = _worth(matrix.vq, matrix.v_scale, matrix.v_block_size)
    (b1, b2), q = matrix.blocks, v.shape[2]
    rows = problem.x.reshape(math.prod(problem.x.shape[:-1]), matrix.in_features)
    padded = np.zeros((len(rows), b2 * q), np.float32)
    padded[:, : matrix.in_features] = rows
    blocks = [padded[:, j * q : (j + 1) * q] for j in range(b2)]
    entering = [_groups(each)[0] if quantised else each.astype(np.float64) for each in blocks]
    # Each product of q terms with a factor rounded once and X twice, then a sum of b2 terms.
    first, second = _gamma(q + b2 + 4), _gamma(matrix.rank + 5)
    y, allowed = [], []
    for i in range(b1):
        s = matrix.s[i].astype(np.float64)
        w = sum(entering[j] @ (s[j][:, None] * v[j]).T for j in range(b2))
        size = sum(np.abs(entering[j]) @ (np.abs(s[j])[:, None] * np.abs(v[j])).T for j in range(b2))
        off = first * np.asarray(size)
        inner, moved = _groups_within(np.asarray(w), off) if quantised else (np.asarray(w), off)
        y.append(inner @ u[i].T)
        allowed.append(moved @ np.abs(u[i]).T + second * ((np.abs(inner) + moved) @ np.abs(u[i]).T))
    shape = (*problem.x.shape[:-1], matrix.out_features)
    cut = slice(0, matrix.out_features)
    whole = np.concatenate(y, axis=1)[:, cut] + problem.bias.astype(np.float64)
    most = np.concatenate(allowed, axis=1)[:, cut] + second * np.abs(problem.bias) + _ROUNDOFF * np.abs(whole)
    return whole.reshape(shape), most.reshape(shape)


def _groups(values: NDArray[Any]) -> tuple[Float64, Float64]:
    """What values become in groups of 32 along the last axis, and each value's step."""
    narrow = values.astype(np.float32)
    found, steps = np.zeros(narrow.shape), np.zeros(narrow.shape)
    for start in range(0, narrow.shape[-1], _GROUP):
        part = narrow[..., start : start + _GROUP]
        a = np.abs(part).max(axis=-1, keepdims=True, initial=np.float32(0))
        times = np.divide(np.float32(127), a, out=np.zeros_like(a), where=a >= np.float32(1e-30))
        step = a.astype(np.float64) / 127
        found[..., start : start + _GROUP] = np.rint(part * times).astype(np.float64) * step
        steps[..., start : start + _GROUP] = step
    return found, steps


def _groups_within(values: Float64, off: Float64) -> tuple[Float64, Float64]:
    """The same of values that may be off by so much, and how far what they become may be off."""
    found, steps = _groups(values)
    used = np.where(steps > 0, steps, 1)
    reach = np.zeros(off.shape)
    for start in range(0, off.shape[-1], _GROUP):
        part = slice(start, start + _GROUP)
        reach[..., part] = off[..., part] + off[..., part].max(axis=-1, keepdims=True, initial=0)
    # A value's own error and its group's greatest one's, and two roundings to float32 on the way to 127.
    reach = reach / used + 127 * 3 * _ROUNDOFF
    places = np.abs(values) / used
    flips = np.abs(places - np.floor(places) - 0.5) <= reach
    # Without a flip the value is off by what its step is: by as much as its group's greatest one.
    return found, np.where(flips, steps, 0) + np.where(steps > 0, reach * used, off)


def _worth(values: NDArray[np.int8], scales: NDArray[np.float32], block: int) -> Float64:
    """Integers times their blocks' scales, column by column."""
    columns = [values[..., c].astype(np.float64) * scales[..., c // block] for c in range(values.shape[-1])]
    return np.stack(columns, axis=-1)


def _gamma(terms: int) -> float:
    return terms * _ROUNDOFF / (1 - terms * _ROUNDOFF)


def scaled(problem: QuantizedProblem, name: str, factor: float) -> QuantizedProblem:
    """The problem with one of its scales changed, for faults."""
    changed = getattr(problem.matrix, name) * np.float32(factor)
    return dataclasses.replace(problem, matrix=dataclasses.replace(problem.matrix, **{name: changed}))
