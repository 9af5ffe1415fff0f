"""What is generated from the contract agrees with it, and the check notices when it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "generate_contract.py"


def check(tool: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True)


def test_generated_files_are_up_to_date() -> None:
    result = check(TOOL)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["custom_ops/runtime/contract.h", "docs/operators.md"])
def test_a_stale_file_is_noticed(name: str, tmp_path: Path) -> None:
    for path in ("tools/generate_contract.py", "custom_ops/runtime/contract.h", "docs/operators.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    with (tmp_path / name).open("a") as file:
        file.write("\n")
    result = check(tmp_path / "tools" / "generate_contract.py")
    assert result.returncode == 1
    assert f"{name} does not agree with blast_deploy/structures/contract.py" in result.stderr
