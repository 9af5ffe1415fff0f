"""Finding and describing the operator library, present and missing."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blast_deploy import native
from blast_deploy.errors import InvalidInputError, UnsupportedMachineError
from blast_deploy.native import Library, library_path
from blast_deploy.structures.contract import KERNEL_OPERATORS


def test_the_installed_library_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(native.LIBRARY_VARIABLE, raising=False)
    path = library_path()
    assert path.is_file()
    assert path.name.startswith("libblast_deploy_ops.")


def test_the_environment_names_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.so"
    other.touch()
    monkeypatch.setenv(native.LIBRARY_VARIABLE, str(other))
    assert library_path() == other


def test_a_named_library_that_is_missing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.LIBRARY_VARIABLE, str(tmp_path / "none.so"))
    with pytest.raises(
        InvalidInputError, match=r"BLAST_DEPLOY_LIBRARY names .*none\.so, which is not a file"
    ):
        library_path()


def test_an_installation_without_the_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(native.LIBRARY_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "blast_deploy._native", None)
    monkeypatch.delattr("blast_deploy._native", raising=False)
    with pytest.raises(UnsupportedMachineError, match="the operator library is not built"):
        library_path()


def test_a_library_lost_after_installation_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(native.LIBRARY_VARIABLE, raising=False)
    library_path()
    monkeypatch.setattr(sys.modules["blast_deploy._native"], "__file__", str(tmp_path / "_native.py"))
    with pytest.raises(UnsupportedMachineError, match="the operator library is missing at"):
        library_path()


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.so"
    path.write_text("not a library")
    with pytest.raises(UnsupportedMachineError, match="is no operator library for this machine"):
        Library(path)


def test_the_library_has_the_version_of_the_package() -> None:
    assert Library().version == importlib.metadata.version("blast-deploy")


def test_the_cap_lowers_the_instruction_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(native.MAX_INSTRUCTION_SET_VARIABLE, raising=False)
    everything = Library().instruction_sets()
    assert everything
    monkeypatch.setenv(native.MAX_INSTRUCTION_SET_VARIABLE, everything[-1])
    assert Library().instruction_sets() == everything[-1:]


def test_an_unknown_cap_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.MAX_INSTRUCTION_SET_VARIABLE, "sse9")
    with pytest.raises(InvalidInputError, match="MAX_INSTRUCTION_SET is 'sse9', and must be one"):
        Library().instruction_sets()


def test_the_library_tells_what_it_registers() -> None:
    assert Library().operators() == {operator.name: operator.since_version for operator in KERNEL_OPERATORS}


def test_a_library_of_another_build_is_refused_by_name(tmp_path: Path) -> None:
    """A real one, older than the functions that it lacks."""
    source, path = tmp_path / "old.c", tmp_path / "old.so"
    source.write_text('const char* blast_deploy_version(void) { return "0.0.1"; }')
    compiler = shutil.which("cc") or shutil.which("c++")
    assert compiler
    subprocess.run([compiler, "-x", "c", "-shared", "-fPIC", "-o", str(path), str(source)], check=True)
    library = Library(path)
    assert library.version == "0.0.1"
    asked = (library.operators, library.instruction_sets, lambda: library.call("blast_deploy_blast_pack"))
    for ask in asked:
        with pytest.raises(UnsupportedMachineError, match=r"old\.so is operator library 0\.0\.1, which has"):
            ask()
