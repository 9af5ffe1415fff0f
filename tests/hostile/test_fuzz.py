"""Each reader under coverage-guided fuzzing, for a bounded number of runs; see ``fuzz.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUNS = {
    "target": 20_000,
    "manifest": 20_000,
    "result": 20_000,
    "configuration": 2_000,
    "tensors": 3_000,
    "reference": 20_000,
    "samples": 20_000,
    "model": 2_000,
    "external": 2_000,
}
"""About half a minute each."""


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_fuzzing_finds_nothing(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), name]
    options = [f"-runs={RUNS[name]}", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    crashes = [(path, path.read_bytes()[:200]) for path in tmp_path.glob("crash-*")]
    assert run.returncode == 0, f"{crashes}\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
    assert f"stat::number_of_executed_units: {RUNS[name]}" in run.stderr, run.stderr[-3000:]
