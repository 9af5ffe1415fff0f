"""What is run: every case through every implementation, and sizes that nobody thought of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from bounds import check
from cases import CASES, Case, make
from hypothesis import strategies as st
from implementations import Implementation

_sizes = st.one_of(st.integers(1, 12), st.integers(1, 140))

ANY_CASE = st.builds(
    Case,
    name=st.just("random"),
    out_features=_sizes,
    in_features=_sizes,
    blocks=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    rank=_sizes,
    leading=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    bias=st.booleans(),
)
"""A case of any small size."""


def runs_of(implementations: Iterable[Implementation]) -> list[Any]:
    """Parameters ``case``, ``implementation`` and ``dtype`` of every run of the table."""
    return [
        pytest.param(
            case, implementation, dtype, id=f"{case.name}-{implementation.name}-{np.dtype(dtype).name}"
        )
        for case in CASES
        for implementation in implementations
        for dtype in implementation.dtypes
        if implementation.widens or not (case.large and np.dtype(dtype).itemsize == 2)
    ]


def check_run(case: Case, implementation: Implementation, dtype: Any) -> None:
    """Compute a case and hold it to its bound."""
    problem = make(case, dtype)
    check(
        implementation.run(problem),
        problem,
        dtype,
        multiplied_out=implementation.multiplied_out,
        computed_in=np.float32 if implementation.widens and np.dtype(dtype).itemsize == 2 else None,
    )
