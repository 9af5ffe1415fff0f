"""The example that learns structures on digits, with tiny sizes: it runs, and keeps to its budgets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits_vit"

pytest.importorskip("sklearn", reason="the example reads scikit-learn's digits")
pytestmark = pytest.mark.extras


def test_a_tiny_sweep(tmp_path: Path) -> None:
    command = [sys.executable, EXAMPLE / "sweep.py", "-o", tmp_path / "out", "--seeds", "1"]
    sizes = ["--keeps", "0.3", "--width", "16", "--epochs", "4", "--images", "80"]
    run = subprocess.run([*command, *sizes], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    runs = {each["method"]: each for each in json.loads((tmp_path / "out" / "results.json").read_text())}
    assert list(runs) == ["dense", "low-rank", "BLAST", "GBLR"]
    # Two blocks of four 16 x 16 layers and two of 32 x 16, two operations for each weight.
    assert runs["dense"]["flops"] == 2 * 2 * 2 * 4 * 16 * 16
    assert runs["low-rank"]["flops"] == 2 * 2 * (4 * 2 * 32 + 2 * 3 * 48)
    assert 0 < runs["GBLR"]["flops"] <= runs["low-rank"]["flops"]
    assert 0 < runs["BLAST"]["flops"] <= runs["low-rank"]["flops"]
    assert all(0 <= each["accuracy"] <= 1 for each in runs.values())
    assert "<svg" in (tmp_path / "out" / "accuracy.svg").read_text()
    assert "| GBLR |" in run.stdout
