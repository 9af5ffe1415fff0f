from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path

import pytest

import blast_deploy as bd
from blast_deploy.results import Diagnosis, Finding, to_json
from blast_deploy.targets import target_names


def finding(diagnosis: Diagnosis, subject: str) -> Finding:
    (found,) = (each for each in diagnosis.findings if each.subject == subject)
    return found


def test_this_machine_is_described() -> None:
    diagnosis = bd.diagnose()
    assert diagnosis.machine["architecture"] == platform.machine()
    assert diagnosis.machine["python"] == platform.python_version()
    assert int(diagnosis.machine["cores"]) >= 1
    assert finding(diagnosis, "onnxruntime").detail == metadata.version("onnxruntime")
    for name in target_names():
        assert finding(diagnosis, f"target {name}").needed is False
    assert json.loads(to_json(diagnosis))["healthy"] is diagnosis.healthy


def test_a_whole_installation_is_healthy() -> None:
    diagnosis = bd.diagnose()
    assert diagnosis.healthy, [each for each in diagnosis.findings if each.needed and not each.present]
    assert finding(diagnosis, "operator library in onnxruntime").present
    operators = "BlastLinear 1, BlastLinearGroupPacked 1, BlastLinearPacked 1"
    assert operators in finding(diagnosis, "operator library").detail
    assert (
        "x86-64" in diagnosis.machine["instruction sets"] or "neon" in diagnosis.machine["instruction sets"]
    )


def test_everything_missing_comes_with_a_remedy() -> None:
    for each in bd.diagnose().findings:
        assert each.present == (not each.remedy), each


def test_a_missing_library_is_named_with_what_mends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BLAST_DEPLOY_LIBRARY", str(tmp_path / "gone.so"))
    diagnosis = bd.diagnose()
    assert not diagnosis.healthy
    library = finding(diagnosis, "operator library")
    assert not library.present
    assert "gone.so" in library.detail
    assert library.remedy
    assert diagnosis.machine["instruction sets"] == "unknown without the operator library"
    assert finding(diagnosis, "target cpu-stock").present
    assert not finding(diagnosis, "target cpu-native").present


def test_a_file_that_is_no_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")
    monkeypatch.setenv("BLAST_DEPLOY_LIBRARY", str(tmp_path / "text.so"))
    diagnosis = bd.diagnose()
    assert not diagnosis.healthy
    for subject in ("operator library", "operator library in onnxruntime"):
        assert not finding(diagnosis, subject).present
        assert "text.so" in finding(diagnosis, subject).detail


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("torch", "onnxscript"):
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr("blast_deploy.doctor.version", version)
    diagnosis = bd.diagnose()
    assert finding(diagnosis, "torch").remedy == "pip install 'blast-deploy[torch]'"
    assert not finding(diagnosis, "torch").needed
    assert finding(diagnosis, "onnxscript").remedy == "pip install 'onnxscript<0.8,>=0.7'"
    assert not diagnosis.healthy


def test_a_package_outside_the_tested_range_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"onnxruntime": "1.17.3", "numpy": "3.0.0"}
    monkeypatch.setattr(
        "blast_deploy.doctor.version", lambda name: versions.get(name) or metadata.version(name)
    )
    diagnosis = bd.diagnose()
    old, new = finding(diagnosis, "onnxruntime"), finding(diagnosis, "numpy")
    assert old.detail == "1.17.3 is outside the supported range <2,>=1.18"
    assert old.remedy == "pip install 'onnxruntime<2,>=1.18'"
    assert new.detail == "3.0.0 is outside the supported range <3,>=1.24.2"
    assert not diagnosis.healthy
