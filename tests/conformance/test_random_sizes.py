"""Sizes that nobody thought of, through one implementation of each kind."""

from __future__ import annotations

import numpy as np
import pytest
from cases import Case
from hypothesis import given, settings
from implementations import IMPLEMENTATIONS, Implementation
from runs import ANY_CASE, check_run

NAMES = ("body-in-reference", "body-in-runtime", "kernel-with-fed-factors")
CHOSEN = [each for each in IMPLEMENTATIONS if each.name in NAMES or each.name.startswith("direct-kernel")]


@pytest.mark.parametrize("implementation", CHOSEN, ids=lambda each: each.name)
@settings(max_examples=40, deadline=None)
@given(ANY_CASE)
def test_within_the_bound(implementation: Implementation, case: Case) -> None:
    check_run(case, implementation, np.float32)
