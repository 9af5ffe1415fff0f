"""Where ONNX Runtime has no memory left, its allocator throws: the run fails, and the process goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from layer_models import Layer, packed_model, plain_model

from blast_deploy.native import library_path

_PROBE = """
import json, sys
import numpy as np
import onnxruntime as ort

model, library, threads, inputs = sys.argv[1:]
memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": 4 << 20, "arena_extend_strategy": 1}))
options = ort.SessionOptions()
options.log_severity_level = 4
options.intra_op_num_threads = int(threads)
options.add_session_config_entry("session.use_env_allocators", "1")
options.register_custom_ops_library(library)
session = ort.InferenceSession(model, options)
feeds = dict(np.load(inputs))
said = []
for rows in (1, 280, 1):
    try:
        session.run(None, {**feeds, "X": np.ones((1, rows, 16384), np.float32)})
        said.append("ran")
    except Exception as error:
        said.append(str(error))
print(json.dumps(said))
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("constant", [True, False])
def test_a_run_without_memory_fails_alone(tmp_path: Path, threads: int, constant: bool) -> None:
    layer = Layer(64, 16384, (2, 2), 4)
    model = packed_model(layer) if constant else plain_model(layer, constant=False)
    onnx.save_model(model, tmp_path / "layer.onnx")
    factors = {"U": layer.matrix.u, "S": layer.matrix.s, "V": layer.matrix.v, "bias": layer.bias}
    np.savez(tmp_path / "inputs.npz", **({} if constant else factors))  # type: ignore[arg-type]
    arguments = [tmp_path / "layer.onnx", library_path(), threads, tmp_path / "inputs.npz"]
    probe = subprocess.run(
        [sys.executable, "-c", _PROBE, *map(str, arguments)], capture_output=True, text=True
    )
    assert probe.returncode == 0, probe.stderr
    first, starved, last = json.loads(probe.stdout)
    assert (first, last) == ("ran", "ran")
    assert "no memory for the scratch tiles of a layer" in starved
