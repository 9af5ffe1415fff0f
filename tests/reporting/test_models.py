"""What is known of each model is joined by its path."""

from __future__ import annotations

from pathlib import Path

import example_results

from blast_deploy.reporting.documents import Documents, read_documents
from blast_deploy.reporting.models import FIDELITY, Models, quality_of, shape_text


def test_size_quality_and_speed_meet(tmp_path: Path) -> None:
    models = Models(read_documents(example_results.write_all(tmp_path)))
    artifact, dense, portable = models.all()
    assert [model.name for model in models.all()] == ["artifact", "dense.onnx", "portable.onnx"]
    assert artifact.kept == portable.kept == 0.5
    assert (artifact.parameters, portable.parameters, dense.parameters) == (1024, 1024, 2048)
    assert dense.kept == 1.0
    assert artifact.latency == {"batch 1, sequence 16": 2.0, "batch 8, sequence 128": 2.0}
    assert models.measure() == "mean cosine"
    assert [quality_of(model, "mean cosine") for model in models.all()] == [0.852, 1.0, 0.852]
    assert artifact.fidelity == portable.fidelity == 0.75
    assert artifact.memory == 30.0
    assert models.named("dense.onnx") is dense


def test_fidelity_stands_in_for_a_missing_task_measure(tmp_path: Path) -> None:
    paths = [path for path in example_results.write_all(tmp_path) if path.name != "quality.json"]
    models = Models(read_documents(paths))
    assert models.measure() == FIDELITY
    assert quality_of(models.named("artifact"), FIDELITY) == 0.75
    assert quality_of(models.named("dense.onnx"), FIDELITY) is None


def test_nothing_known_nothing_claimed() -> None:
    models = Models(Documents())
    assert models.all() == []
    assert models.measure() is None


def test_two_models_of_one_name_stay_apart(tmp_path: Path) -> None:
    documents = Documents()
    for name in ("a", "b"):
        documents.verifications.append(example_results.verification(tmp_path / name))
        documents.benchmarks.append(example_results.benchmark(tmp_path / name))
    models = Models(documents)
    assert len(models.all()) == 6
    assert {model.path.parent.name for model in models.all()} == {"a", "b"}


def test_latency_is_that_of_the_fewest_threads(tmp_path: Path) -> None:
    one, two = (example_results.benchmark(tmp_path, threads=threads) for threads in (1, 2))
    assert Models(Documents(benchmarks=[two, one])).all()[0].latency["batch 1, sequence 16"] == 2.0


def test_shapes_in_words() -> None:
    assert shape_text({"batch": 1, "sequence": 16}) == "batch 1, sequence 16"
    assert shape_text({}) == "fixed shape"
