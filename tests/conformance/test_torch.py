"""The conformance table through torch, where that is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import Case
from hypothesis import given, settings
from implementations import Implementation
from runs import ANY_CASE, check_run, runs_of
from torch_implementations import TORCH_IMPLEMENTATIONS


@pytest.mark.parametrize(("case", "implementation", "dtype"), runs_of(TORCH_IMPLEMENTATIONS))
def test_within_the_bound(case: Case, implementation: Implementation, dtype: Any) -> None:
    check_run(case, implementation, dtype)


@settings(max_examples=40, deadline=None)
@given(ANY_CASE)
def test_any_size_is_within_the_bound(case: Case) -> None:
    check_run(case, TORCH_IMPLEMENTATIONS[0], np.float32)
