"""What these environments are for: the installed wheel, without torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import blast_deploy


def test_the_installed_wheel_is_tested() -> None:
    assert Path(blast_deploy.__file__).parents[1].name == "site-packages"


def test_there_is_no_torch() -> None:
    assert find_spec("torch") is None
