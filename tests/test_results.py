"""Results are written as JSON without what cannot be written."""

from __future__ import annotations

import json
from pathlib import Path

from blast_deploy.results import CompressionResult, LayerCompression, Ratio, to_json


def test_a_module_stays_out_of_the_json() -> None:
    layer = LayerCompression("a.b", 4, 6, (2, 3), 1, 16, 24, 0.5, None, 0.1)
    result = CompressionResult("blast", "alternating", 0.5, 16, 24, 0.1, (layer,), Path("x/y"), object())
    written = json.loads(to_json(result))
    assert "module" not in written
    assert written["path"] == "x/y"
    assert written["layers"][0]["blocks"] == [2, 3]
    assert written["layers"][0]["activation_error"] is None


def test_lists_and_dictionaries_of_results() -> None:
    ratio = Ratio("a", "b", {"batch": 1}, 2.0, (1.9, 2.1), "faster")
    assert json.loads(to_json([{"r": ratio}]))[0]["r"]["ci95"] == [1.9, 2.1]
