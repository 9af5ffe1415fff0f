"""Every case through every implementation at every element type, against float64 truth."""

from __future__ import annotations

from typing import Any

import pytest
from cases import Case
from implementations import IMPLEMENTATIONS, Implementation
from runs import check_run, runs_of


@pytest.mark.parametrize(("case", "implementation", "dtype"), runs_of(IMPLEMENTATIONS))
def test_within_the_bound(case: Case, implementation: Implementation, dtype: Any) -> None:
    check_run(case, implementation, dtype)
