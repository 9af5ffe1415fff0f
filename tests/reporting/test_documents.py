"""Reading what stages wrote, and refusing what they did not."""

from __future__ import annotations

import math
from pathlib import Path

import example_results
import pytest

from blast_deploy.errors import InvalidInputError
from blast_deploy.reporting.documents import read_documents
from blast_deploy.results import (
    CompileResult,
    ExportResult,
    LayerPlan,
    Plan,
    TensorSpec,
    VerificationResult,
    to_json,
)


def test_each_kind_comes_back_as_it_was_written(tmp_path: Path) -> None:
    documents = read_documents(example_results.write_all(tmp_path))
    assert documents.benchmarks == [example_results.benchmark(tmp_path)]
    assert documents.qualities == [example_results.quality(tmp_path)]
    assert documents.inspections == [example_results.inspection(tmp_path)]
    assert documents.compressions == [example_results.compression()]
    assert [artifact.manifest.source.name for artifact in documents.artifacts] == ["portable.onnx"]
    (verification,) = documents.verifications
    assert verification.verdict == "failed"
    assert math.isnan(verification.layers[0].rms_error)  # NaN is null in JSON


def test_exports_and_compilations(tmp_path: Path) -> None:
    spec = TensorSpec("x", "float32", ("batch", 4))
    exported = ExportResult(Path("m.onnx"), None, 20, 10, 99, (spec,), (spec,), ("layer.0",))
    plan = Plan("cpu-native", (1, 9), (LayerPlan("layer.0", "BlastLinear", "body", "why", (), ()),))
    compiled = CompileResult(Path("artifact"), "cpu-native", plan, 10)
    paths = [tmp_path / "export.json", tmp_path / "compile.json"]
    for path, result in zip(paths, (exported, compiled), strict=True):
        path.write_bytes(to_json(result))
    documents = read_documents(paths)
    assert documents.exports == [exported]
    assert documents.compilations == [compiled]


def test_a_verification_without_layers(tmp_path: Path) -> None:
    result = VerificationResult(Path("a"), "unjudged", ("no samples",), (), (), {}, None)
    path = tmp_path / "v.json"
    path.write_bytes(to_json(result))
    assert read_documents([path]).verifications == [result]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not readable JSON"),
        (b'{"verdict": "pass', "not readable JSON"),
        (b"\xff\xfe", "not readable JSON"),
        (b"[1, 2]", "not a result"),
        (b'{"hello": 1}', "not a result"),
        (b'{"verdict": "maybe"}', "not a result"),
    ],
)
def test_other_files_are_refused_in_one_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=words) as refused:
        read_documents([path])
    assert "\n" not in str(refused.value)


def test_half_a_result_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    whole = to_json(example_results.benchmark(tmp_path))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInputError, match="not readable JSON"):
        read_documents([path])


def test_paths_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        read_documents([tmp_path / "nothing.json"])
    with pytest.raises(InvalidInputError, match="holds no manifest"):
        read_documents([tmp_path])
    with pytest.raises(InvalidInputError, match="at least one"):
        read_documents([])
