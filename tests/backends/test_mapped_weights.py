"""Packed weights stay in their file: opening and running an artifact takes hardly any memory of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from portable_models import LayerSizes, forcing, inputs, random_layers, write_portable

import blast_deploy as bd
from blast_deploy.artifact import open_artifact

MEASURE = """
import sys
from pathlib import Path
import numpy as np
import onnx_ir, onnxruntime
import blast_deploy as bd
import blast_deploy.backends.onnxruntime.session_runner

def anonymous():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) * 1024

before = anonymous()
running = bd.open(sys.argv[1], threads=1)
getattr(running, sys.argv[2])({"x": np.ones((1, 16, running.inputs[0].shape[-1]), np.float32)})
print(anonymous() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux tells anonymous memory")
@pytest.mark.parametrize(
    "sizes",
    [
        LayerSizes(4096, 4096, (16, 16), 992),
        pytest.param(LayerSizes(11008, 4096, (16, 16), 1488), marks=pytest.mark.slow),
    ],
    ids=["4096x4096", "11008x4096"],
)
def test_packed_weights_take_no_memory_of_their_own(tmp_path: Path, sizes: LayerSizes) -> None:
    layers = random_layers((sizes,))
    source = write_portable(tmp_path, layers, [inputs(layers, 1, 2)])
    bd.compile(source, forcing("kernel"), tmp_path / "artifact")
    (weights,) = open_artifact(tmp_path / "artifact").files("weights")
    packed = weights.stat().st_size
    assert packed >= 4 * layers[0].matrix.cost.parameters
    for way in ("run", "run_tapped"):
        command = [sys.executable, "-c", MEASURE, str(tmp_path / "artifact"), way]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        taken = int(run.stdout)
        assert taken < min(40e6, packed / 2), f"{way}: {taken} bytes for {packed} of weights"
