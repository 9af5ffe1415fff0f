"""The operators in the real runtime, built with the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sanitized_cases

from blast_deploy.native import LIBRARY_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "build/cpp/libblast_deploy_ops.so"


def run_sanitized(count: int, first: int) -> subprocess.CompletedProcess[str]:
    assert LIBRARY.is_file(), f"{LIBRARY} is missing: run make test-cpp"
    libraries = [
        subprocess.run(
            ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = {
        **os.environ,
        LIBRARY_VARIABLE: str(LIBRARY),
        "LD_PRELOAD": ":".join(libraries),
        # Python and the runtime keep memory until they end; the C++ tests look for leaks.
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    command = [sys.executable, sanitized_cases.__file__, str(count), str(first)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_random_layers() -> None:
    result = run_sanitized(400, 0)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout == "400 cases\n"


@pytest.mark.slow
def test_many_random_layers() -> None:
    result = run_sanitized(20_000, 1_000_000)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout == "20000 cases\n"
