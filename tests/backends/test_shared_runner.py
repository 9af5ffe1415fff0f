"""Threads that share a runner share its session too, after a capture as before it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from portable_models import forcing, inputs, random_layers, write_portable

import blast_deploy as bd
from blast_deploy.backends.onnxruntime import session_runner

THREADS = 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    bd.compile(write_portable(tmp_path, random_layers()), forcing("kernel"), tmp_path / "artifact")
    return tmp_path / "artifact"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models of the sessions that were really made, in order."""
    models: list[Any] = []
    make = session_runner.make_session

    def recording(model: Any, **options: Any) -> Any:
        models.append(model)
        return make(model, **options)

    monkeypatch.setattr(session_runner, "make_session", recording)
    return models


def test_threads_that_run_make_one_session_between_them(path: Path, made: list[Any]) -> None:
    sample = inputs(random_layers(), 2, 3)
    start = threading.Barrier(THREADS)
    with bd.open(path, threads=1) as running:
        expected = running.run(sample)["y"]
        running.run_tapped(sample)
        made.clear()

        def run(_: int) -> Any:
            start.wait()
            return running.run(sample)["y"]

        with ThreadPoolExecutor(THREADS) as pool:
            for found in pool.map(run, range(THREADS)):
                np.testing.assert_array_equal(found, expected)
    assert len(made) == 1
