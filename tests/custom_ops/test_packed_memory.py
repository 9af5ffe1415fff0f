"""Packed factors in external data are used where they lie: they cost no memory of the process's own.

Pages that a file backs do not count: the system drops them when it needs room and shares them between
processes, and ``smaps_rollup`` calls them private only as long as no other process maps the file.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from layer_models import Layer, packed_model

from blast_deploy.native import library_path

PAGE = 4096
LIMIT_BYTES = 40 << 20

_PROBE = """
import json, sys
import numpy as np
import onnxruntime as ort

def memory(name):
    with open("/proc/self/smaps_rollup") as file:
        return sum(1024 * int(line.split()[1]) for line in file if line.startswith(name))

model, library, width = sys.argv[1:]
x = np.ones((1, 16, int(width)), np.float32)
options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.register_custom_ops_library(library)
before = memory("Anonymous:"), memory("Rss:")
session = ort.InferenceSession(model, options)
y = session.run(None, {"X": x})[0]
after = memory("Anonymous:"), memory("Rss:")
print(json.dumps({"private": after[0] - before[0], "resident": after[1] - before[1]}))
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup")
def test_a_large_layer_stays_within_its_memory(tmp_path: Path) -> None:
    layer = Layer(11008, 4096, (16, 16), 1488)
    path = tmp_path / "layer.onnx"
    onnx.save_model(
        packed_model(layer), path, save_as_external_data=True, location="layer.data", size_threshold=1024
    )
    model = onnx.load_model(path, load_external_data=False)
    (factors,) = (tensor for tensor in model.graph.initializer if tensor.name == "factors")
    place = {entry.key: int(entry.value) for entry in factors.external_data if entry.key != "location"}
    assert place["offset"] % PAGE == 0
    assert place["length"] > 85e6
    probe = [sys.executable, "-c", _PROBE, str(path), str(library_path()), str(layer.in_features)]
    found = json.loads(subprocess.run(probe, check=True, capture_output=True, text=True).stdout)
    assert found["private"] <= LIMIT_BYTES, f"{found['private'] / 2**20:.1f} MB"
    assert found["resident"] > 85e6, "the layer was not run, or its file is not mapped"
