"""Every GBLR case through every implementation at every element type, against float64 truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from gblr_cases import GBLR_CASES, GblrCase, GblrProblem, check_gblr, make_gblr
from gblr_models import one_layer, tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from implementations import FLOATS, Array, in_reference, in_runtime, with_library
from numpy.typing import NDArray

from blast_deploy.factors import LayerFactors
from blast_deploy.native import Library
from blast_deploy.passes.densify import Densify
from blast_deploy.passes.inline_functions import InlineFunctions
from blast_deploy.passes.pack_gblr import PackGblr
from blast_deploy.structures.gblr.intervals import IntervalFactor
from blast_deploy.structures.gblr.matrix import GblrMatrix
from blast_deploy.structures.gblr.packing import linear, pack

LAYER = "layer"


@dataclass(frozen=True)
class GblrImplementation:
    """One way to compute a layer, and whether it multiplies by the dense weight."""

    name: str
    run: Callable[[GblrProblem], Array]
    dtypes: tuple[Any, ...] = FLOATS
    multiplied_out: bool = False


def model(problem: GblrProblem) -> onnx.ModelProto:
    axes = [f"axis_{index}" for index in range(problem.x.ndim - 1)]
    return one_layer(problem.matrix, problem.bias, axes, LAYER)


def rewritten(problem: GblrProblem, step: ir.passes.InPlacePass) -> onnx.ModelProto:
    found = ir.from_proto(model(problem))
    step(found)
    return ir.to_proto(found)


def numpy_dense(problem: GblrProblem) -> Array:
    product: Array = problem.x.astype(np.float64) @ problem.matrix.dense().T + problem.bias
    return product


def kept_factors(problem: GblrProblem) -> Array:
    given = tensors(problem.matrix, problem.bias)
    sizes = problem.matrix.out_features, problem.matrix.in_features
    return LayerFactors(LAYER, "GblrLinear", *sizes, given).apply(problem.x)


IMPLEMENTATIONS = (
    GblrImplementation("numpy-apply", lambda p: p.matrix.apply(p.x, p.bias), (np.float64,)),
    GblrImplementation("numpy-dense", numpy_dense, (np.float64,), multiplied_out=True),
    GblrImplementation("kept-factors", kept_factors, (np.float64,)),
    GblrImplementation("body-in-reference", lambda p: in_reference(model(p), p)),
    GblrImplementation(
        "inlined-in-reference", lambda p: in_reference(rewritten(p, InlineFunctions([LAYER])), p)
    ),
    GblrImplementation("body-in-runtime", lambda p: in_runtime(model(p), p)),
    GblrImplementation("body-in-runtime-unoptimised", lambda p: in_runtime(model(p), p, optimise=False)),
    GblrImplementation(
        "dense-in-runtime", lambda p: in_runtime(rewritten(p, Densify([LAYER])), p), multiplied_out=True
    ),
)


def packed_kernel(problem: GblrProblem, instruction_set: str) -> Array:
    matrix, width = problem.matrix, problem.x.shape[-1]
    sizes = matrix.out_features, width, matrix.components
    y = linear(pack(matrix), sizes, problem.x.reshape(-1, width), problem.bias, instruction_set)
    return y.reshape(*problem.x.shape[:-1], matrix.out_features)


def packed_in_runtime(problem: GblrProblem) -> Array:
    packed = rewritten(problem, PackGblr([LAYER], Library().instruction_sets()[0]))
    return with_library(packed, {"x": problem.x}, 1)


KERNELS = (
    *(
        GblrImplementation(f"kernel-{each}", partial(packed_kernel, instruction_set=each), (np.float32,))
        for each in Library().instruction_sets()
    ),
    GblrImplementation("packed-in-runtime", packed_in_runtime, (np.float32,)),
)
RUNS = [
    pytest.param(case, each, dtype, id=f"{case.name}-{each.name}-{np.dtype(dtype).name}")
    for case in GBLR_CASES
    for each in (*IMPLEMENTATIONS, *KERNELS)
    for dtype in each.dtypes
    if not (case.large and np.dtype(dtype).itemsize == 2)
]


@pytest.mark.parametrize(("case", "implementation", "dtype"), RUNS)
def test_within_the_bound(case: GblrCase, implementation: GblrImplementation, dtype: Any) -> None:
    problem = make_gblr(case, dtype)
    check_gblr(implementation.run(problem), problem, dtype, multiplied_out=implementation.multiplied_out)


@st.composite
def any_case(draw: Callable[..., Any]) -> GblrCase:
    m, n = (draw(st.one_of(st.integers(1, 12), st.integers(1, 90))) for _ in range(2))
    count = draw(st.integers(0, 20))

    def side(size: int, seed: int) -> IntervalFactor:
        intervals = draw(
            st.lists(
                st.tuples(st.integers(0, size - 1), st.integers(1, size)), min_size=count, max_size=count
            )
        )
        starts, widths = np.array(intervals, np.int64).reshape(-1, 2).T.copy()
        return IntervalFactor(np.random.default_rng(seed).standard_normal(widths.sum()), starts, widths, size)

    leading = draw(st.lists(st.integers(0, 7), max_size=3))
    return GblrCase("random", GblrMatrix(side(m, 1), side(n, 2)), tuple(leading))


@pytest.mark.parametrize("implementation", [*IMPLEMENTATIONS[3:6:2], *KERNELS], ids=lambda each: each.name)
@settings(max_examples=40, deadline=None)
@given(any_case())
def test_any_structure_is_within_the_bound(implementation: GblrImplementation, case: GblrCase) -> None:
    problem = make_gblr(case, np.float32)
    check_gblr(implementation.run(problem), problem, np.float32)


def compute(problem: GblrProblem, u: IntervalFactor | None = None, v: IntervalFactor | None = None) -> Array:
    """A correct float32 implementation, of changed factors."""
    matrix = GblrMatrix(u or problem.matrix.u, v or problem.matrix.v)
    return matrix.apply(problem.x, problem.bias).astype(np.float32)


def moved(factor: IntervalFactor) -> IntervalFactor:
    return replace(factor, starts=(factor.starts + 1) % factor.size)


def backwards(factor: IntervalFactor) -> IntervalFactor:
    return replace(factor, values=factor.values[::-1].copy())


def cut(factor: IntervalFactor) -> IntervalFactor:
    values = factor.values.copy()
    values[-1] = 0
    return replace(factor, values=values)


def unwrapped(factor: IntervalFactor) -> IntervalFactor:
    """Clamp at the end of the axis instead of wrapping around."""
    rows, columns = factor.positions()
    values = np.where(columns < factor.starts[rows], 0, factor.values)
    return replace(factor, values=values.astype(factor.values.dtype))


def not_a_number(problem: GblrProblem) -> Array:
    y = compute(problem)
    y.flat[-1] = np.nan
    return y


FAULTS: dict[str, Callable[[GblrProblem], NDArray[Any]]] = {
    "u-moved": lambda p: compute(p, u=moved(p.matrix.u)),
    "v-moved": lambda p: compute(p, v=moved(p.matrix.v)),
    "u-backwards": lambda p: compute(p, u=backwards(p.matrix.u)),
    "v-backwards": lambda p: compute(p, v=backwards(p.matrix.v)),
    "u-cut": lambda p: compute(p, u=cut(p.matrix.u)),
    "v-cut": lambda p: compute(p, v=cut(p.matrix.v)),
    "u-unwrapped": lambda p: compute(p, u=unwrapped(p.matrix.u)),
    "v-unwrapped": lambda p: compute(p, v=unwrapped(p.matrix.v)),
    "no-bias": lambda p: p.matrix.apply(p.x).astype(np.float32),
    "not-a-number": not_a_number,
    "double-out": lambda p: compute(p).astype(np.float64),
}


def test_a_correct_implementation_passes() -> None:
    problem = make_gblr(next(case for case in GBLR_CASES if case.name == "wraps-around"), np.float32)
    check_gblr(compute(problem), problem, np.float32)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["wraps-around", "primes", "many-rows", "learned-query"])
def test_a_fault_is_seen(name: str, fault: str) -> None:
    problem = make_gblr(next(case for case in GBLR_CASES if case.name == name), np.float32)
    with pytest.raises(AssertionError):
        check_gblr(FAULTS[fault](problem), problem, np.float32)
