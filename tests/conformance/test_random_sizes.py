"""Sizes that nobody thought of, through one implementation of each kind."""

from __future__ import annotations

import numpy as np
import pytest
from bounds import check
from cases import Case, make
from hypothesis import given, settings
from hypothesis import strategies as st
from implementations import IMPLEMENTATIONS, Implementation

NAMES = ("torch-operator", "body-in-reference", "body-in-runtime", "kernel-with-fed-factors")
CHOSEN = [each for each in IMPLEMENTATIONS if each.name in NAMES or each.name.startswith("direct-kernel")]

sizes = st.one_of(st.integers(1, 12), st.integers(1, 140))
leading = st.lists(st.integers(0, 9), max_size=3).map(tuple)


@pytest.mark.parametrize("implementation", CHOSEN, ids=lambda each: each.name)
@settings(max_examples=40, deadline=None)
@given(sizes, sizes, st.integers(1, 9), st.integers(1, 9), sizes, leading, st.booleans())
def test_within_the_bound(
    implementation: Implementation,
    out_features: int,
    in_features: int,
    block_rows: int,
    block_columns: int,
    rank: int,
    rows: tuple[int, ...],
    bias: bool,
) -> None:
    case = Case("random", out_features, in_features, (block_rows, block_columns), rank, rows, bias)
    problem = make(case, np.float32)
    check(implementation.run(problem), problem, np.float32)
