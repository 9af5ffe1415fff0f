"""Tests for environments that ``noxfile.py`` makes; the usual run does not collect this folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def others() -> Path:
    """Artifacts that other runtimes compiled, by version of the runtime; read only."""
    return Path(os.environ["BLAST_DEPLOY_OTHER_ARTIFACTS"])
