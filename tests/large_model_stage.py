"""One stage on a large model in a process of its own, whose memory ``test_large_model.py`` watches.

The stage first runs on a small model of the same making, so that all it imports is there. Then it says
``ready``, waits for a line, runs on the large one, says what came of it and waits again to be looked at.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blast_deploy as bd

SMALL_WIDTH = 64
_DYNAMIC = {"x": {0: "batch", 1: "sequence"}}


def export(folder: Path, width: int) -> dict[str, Any]:
    """Make a stack of 8 structured and 8 dense layers, about ``51 * width**2`` bytes, and export it.

    One structured layer, "8", has so high a rank that it is best multiplied out.
    """
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for group in range(4):
        layers += [
            bd.BlastLinear(width, width, blocks=4, rank=width * 9 // 16 if group == 1 else width // 4),
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.GELU(),
            bd.BlastLinear(width, width, blocks=(4, 8), rank=width // 4),
            nn.LayerNorm(width),
            nn.Linear(width, width, bias=group == 0),
            nn.Tanh(),
        ]
    model = nn.Sequential(*layers).eval()
    x = torch.randn(2, 8, width)
    bd.export(model, x, folder / "model.onnx", input_names=["x"], dynamic_axes=_DYNAMIC)
    return {"parameter_bytes": sum(parameter.nbytes for parameter in model.parameters())}


def compile(folder: Path, width: int) -> dict[str, Any]:
    """Compile the exported model."""
    result = bd.compile(folder / "model.onnx", target="cpu-native", output=folder / "artifact")
    return {"forms": {layer.layer: layer.form for layer in result.plan.layers}}


def verify(folder: Path, width: int) -> dict[str, Any]:
    """Verify the artifact with all its layers."""
    result = bd.verify(folder / "artifact", layers=True)
    return {"verdict": result.verdict, "reasons": result.reasons, "layers": len(result.layers)}


STAGES: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "export": export,
    "compile": compile,
    "verify": verify,
}


def main(stage: str, folder: str, width: str) -> None:
    """Run one stage, first small and then large."""
    small = Path(folder) / "small"
    small.mkdir(exist_ok=True)
    STAGES[stage](small, SMALL_WIDTH)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(STAGES[stage](Path(folder), int(width))), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
