"""What the README shows works as it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import blast_deploy
from blast_deploy import cli

ROOT = Path(blast_deploy.__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_python_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), scope)
    assert getattr(scope["y"], "shape", None) == (3, 256)


def test_every_verb_that_is_shown_exists() -> None:
    verbs = set(re.findall(r"blast-deploy (\w+)", README))
    assert len(verbs) >= 6
    for verb in verbs:
        assert CliRunner().invoke(cli.app, [verb, "--help"]).exit_code == 0, verb


def test_links_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document}: {link}"
