"""What one runtime compiled, another runs: same files, same verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import blast_deploy as bd
from blast_deploy.artifact import read_artifact
from blast_deploy.reference import load


def artifacts(folder: Path) -> list[Path]:
    return sorted(manifest.parent for manifest in folder.glob("*/*/manifest.json"))


def test_all_are_there(others: Path) -> None:
    makers = {path.parent.name for path in artifacts(others)}
    assert len(makers) == 2
    assert {read_artifact(path).manifest.libraries["onnxruntime"] for path in artifacts(others)} == makers
    assert len(artifacts(others)) == 2 * 9
    assert {read_artifact(path).manifest.operators.oldest_runtime for path in artifacts(others)} == {"1.18"}


def test_all_pass_with_their_layers(others: Path) -> None:
    for path in artifacts(others):
        result = bd.verify(path, layers=True)
        assert result.verdict == "passed", (path, result.reasons)
        assert len(result.layers) == 2


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_makers_agree_on_kernels_to_the_bit(others: Path, dtype: str) -> None:
    """The packed weights are the same bytes, and the kernel is this library's, whatever runs it."""
    first, second = (maker / f"kernel-{dtype}" for maker in sorted(others.iterdir()))
    assert (first / "model.onnx.data").read_bytes() == (second / "model.onnx.data").read_bytes()
    sample = load(first / "reference/samples.npz").samples[0]
    with bd.open(first) as one, bd.open(second) as two:
        np.testing.assert_array_equal(one.run(sample.inputs)["y"], two.run(sample.inputs)["y"])
