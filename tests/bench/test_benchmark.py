"""A whole benchmark of small models: what it records, never how long it took."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx_models import scale_model

from blast_deploy import reference
from blast_deploy.bench.benchmark import benchmark
from blast_deploy.errors import InvalidInputError
from blast_deploy.model_paths import reference_path
from blast_deploy.results import to_json


def test_everything_is_recorded(tmp_path: Path) -> None:
    model, other = scale_model(tmp_path / "a.onnx"), scale_model(tmp_path / "b.onnx", 3.0)
    steps: list[tuple[int, int, str]] = []
    result = benchmark(
        model,
        against=[other],
        shapes=["rows=1", "rows=5"],
        rounds=10,
        progress=lambda done, total, what: steps.append((done, total, what)),
    )
    assert result.clock == "thread CPU time"
    assert [(item.name, item.shape) for item in result.contenders] == [
        ("a.onnx", {"rows": 1}),
        ("b.onnx", {"rows": 1}),
        ("a.onnx", {"rows": 5}),
        ("b.onnx", {"rows": 5}),
    ]
    for item in result.contenders:
        assert 0 < item.median_ms == item.p50_ms <= item.p90_ms <= item.p99_ms
        assert item.runs >= 10
        assert item.bytes_on_disk == item.path.stat().st_size
        assert item.peak_memory_mb is not None
        assert item.private_memory_mb is not None
        assert item.peak_memory_mb > 0
    assert [(ratio.contender, ratio.baseline) for ratio in result.ratios] == [("a.onnx", "b.onnx")] * 2
    for ratio in result.ratios:
        assert ratio.ci95[0] <= ratio.median <= ratio.ci95[1]
    assert result.judged == (not result.reasons)
    assert steps[-1][0] == steps[-1][1] == 2 * (2 + 10)
    written = json.loads(to_json(result))
    assert set(written) >= {"clock", "machine", "load", "judged", "contenders", "ratios"}


def test_shapes_come_from_the_reference_beside_the_model(tmp_path: Path) -> None:
    model = scale_model(tmp_path / "a.onnx")
    sample = reference.Sample({"x": np.ones((3, 4), np.float32)}, {"y": np.ones((3, 4))})
    reference.save(reference.Reference("x", (sample,)), reference_path(model))
    result = benchmark(model, rounds=10, threads=2)
    assert [item.shape for item in result.contenders] == [{"rows": 3}]
    assert result.clock == "wall time"
    assert result.ratios == ()


def test_a_contender_of_another_task_is_refused(tmp_path: Path) -> None:
    model, wider = scale_model(tmp_path / "a.onnx"), scale_model(tmp_path / "b.onnx", width=6)
    with pytest.raises(InvalidInputError, match=r"'y' of b\.onnx for rows=2 has shape \(2, 6\)"):
        benchmark(model, against=[wider], shapes=["rows=2"])


def test_a_contender_that_gives_nonsense_is_refused(tmp_path: Path) -> None:
    model, broken = scale_model(tmp_path / "a.onnx"), scale_model(tmp_path / "b.onnx", float("nan"))
    with pytest.raises(InvalidInputError, match=r"b\.onnx for rows=2 is not finite"):
        benchmark(model, against=[broken], shapes=["rows=2"])


def test_arguments_out_of_range(tmp_path: Path) -> None:
    model = scale_model(tmp_path / "a.onnx")
    with pytest.raises(InvalidInputError, match="threads must be at least 1"):
        benchmark(model, threads=0)
    with pytest.raises(InvalidInputError, match="at most 1024"):
        benchmark(model, threads=10**12)
    with pytest.raises(InvalidInputError, match="rounds must be at least 10"):
        benchmark(model, rounds=3)
    with pytest.raises(InvalidInputError, match="has no size"):
        benchmark(model)
