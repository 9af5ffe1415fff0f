"""Honest artifacts of one model, one for each form, and copies of them to plant faults into."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from planting import FORMS, SQUARE
from portable_models import forcing, random_layers, write_portable

import blast_deploy as bd


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One artifact for each form; never written to."""
    folder = tmp_path_factory.mktemp("honest")
    source = write_portable(folder, random_layers(SQUARE), dense=True)
    for form in FORMS:
        bd.compile(source, forcing(form), folder / form)
    return {form: folder / form for form in FORMS}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def copy(honest: dict[str, Path], form: str, tmp_path: Path) -> Path:
    """A copy of an honest artifact to plant a fault into."""
    shutil.copytree(honest[form], tmp_path / "artifact")
    return tmp_path / "artifact"
