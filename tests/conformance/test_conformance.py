"""Every case through every implementation at every element type, against float64 truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bounds import check
from cases import CASES, Case, make
from implementations import IMPLEMENTATIONS, Implementation

RUNS = [
    pytest.param(case, implementation, dtype, id=f"{case.name}-{implementation.name}-{np.dtype(dtype).name}")
    for case in CASES
    for implementation in IMPLEMENTATIONS
    for dtype in implementation.dtypes
    if implementation.widens or not (case.large and np.dtype(dtype).itemsize == 2)
]


@pytest.mark.parametrize(("case", "implementation", "dtype"), RUNS)
def test_within_the_bound(case: Case, implementation: Implementation, dtype: Any) -> None:
    problem = make(case, dtype)
    check(
        implementation.run(problem),
        problem,
        dtype,
        multiplied_out=implementation.multiplied_out,
        computed_in=np.float32 if implementation.widens and np.dtype(dtype).itemsize == 2 else None,
    )
