from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

TOOL = Path(__file__).parents[2] / "tools" / "measure_costs.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure_costs", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@given(st.integers(0, 2**32 - 1))
def test_constants_that_made_the_times_are_found(tool: ModuleType, seed: int) -> None:
    random = np.random.default_rng(seed)
    work = random.uniform(1, 100, (12, 3))
    constants = random.uniform(0.1, 10, 3) * (random.random(3) < 0.7)
    if not constants.any():
        constants[0] = 1.0
    np.testing.assert_allclose(tool.fit(work, work @ constants), constants, rtol=1e-6, atol=1e-9)


def test_no_constant_is_negative(tool: ModuleType) -> None:
    work = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    found = tool.fit(work, np.array([3.0, 2.0, 1.0]))
    assert (found >= 0).all()
    assert found[1] == 0


def test_a_form_is_fitted_through_the_planners_own_formula(tool: ModuleType) -> None:
    made = tool.FormCosts(call_microseconds=3.0, gigaflops=80.0, gigabytes_per_second=25.0)
    cases = tool._cases()
    times = np.array([tool._model("body", case, made) for case in cases])
    found, ratios = tool.fit_form("body", cases, times)
    assert found.call_microseconds == pytest.approx(3.0)
    assert found.gigaflops == pytest.approx(80.0)
    assert found.gigabytes_per_second == pytest.approx(25.0)
    np.testing.assert_allclose(ratios, 1.0)


def test_every_form_of_a_case_can_be_built_and_timed(tool: ModuleType) -> None:
    case = tool.Case(out_features=2048, in_features=1024, blocks=2, rank=4, rows=3)
    times = tool.time_case(
        case,
        tool.native.Library().instruction_sets()[0],
        rounds=2,
    )
    assert set(times) == {"kernel", "body", "dense"}
    assert all(time > 0 for time in times.values())
