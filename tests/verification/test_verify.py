"""The verdict on a whole artifact: passed, or why it could not be judged."""

from __future__ import annotations

from pathlib import Path

import pytest
from planting import reasons

import blast_deploy as bd
from blast_deploy.errors import InvalidInputError, UnsupportedMachineError


def test_an_honest_artifact_passes(honest: dict[str, Path], form: str) -> None:
    result = bd.verify(honest[form], layers=True)
    assert result.verdict == "passed", result.reasons
    assert result.reasons == ()
    assert [each.subject for each in result.outputs] == ["y"]
    assert [each.subject for each in result.layers] == ["block.0", "block.1"]
    for each in (*result.outputs, *result.layers):
        assert 0 < each.rms_error <= each.rms_bound
        assert 0 < each.max_error <= each.max_bound
    expected = {"kernel": "BlastLinearPacked", "body": "function body", "dense": "MatMul"}[form]
    assert result.kernels == {"block.0": expected, "block.1": expected}


def test_compression_loss_is_its_own_figure(honest: dict[str, Path]) -> None:
    # The dense original gave 1.25 times as much: an error of a fifth of it, and no deployment error.
    result = bd.verify(honest["body"])
    assert result.compression_loss == {"y": pytest.approx(0.2)}
    assert result.verdict == "passed"
    assert result.outputs[0].rms_error < 1e-5
    assert result.layers == ()


def test_a_machine_that_cannot_run_it_judges_nothing(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path]
) -> None:
    monkeypatch.setattr("blast_deploy.native.Library.instruction_sets", lambda self: ("z80",))
    text = reasons(bd.verify(honest["kernel"]), "unjudged")
    assert "this machine lacks" in text
    assert "it has z80" in text
    with pytest.raises(UnsupportedMachineError, match="cannot run here"):
        bd.open(honest["kernel"])


@pytest.mark.parametrize("threads", [0, 1025, 10**12])
def test_threads_must_be_in_range(honest: dict[str, Path], threads: int) -> None:
    with pytest.raises(InvalidInputError, match=r"at least 1 and at most 1024 \(got"):
        bd.verify(honest["body"], threads=threads)


def test_a_runtime_that_is_too_old_judges_nothing(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path], form: str
) -> None:
    monkeypatch.setattr("onnxruntime.__version__", "1.17.3")
    text = reasons(bd.verify(honest[form]), "unjudged")
    assert text == f"{honest[form]} needs onnxruntime 1.18 or newer (found 1.17.3); upgrade it"


def test_what_is_no_artifact_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"holds no manifest\.json"):
        bd.verify(tmp_path)
    with pytest.raises(InvalidInputError, match="is no artifact folder"):
        bd.verify(tmp_path / "nowhere")


def test_progress_is_told(honest: dict[str, Path]) -> None:
    told: list[tuple[int, int, str]] = []
    bd.verify(honest["body"], layers=True, progress=lambda *step: told.append(step))
    assert [done for done, _, _ in told] == list(range(told[0][1]))
    assert told[-1][2] == "block.1"
