"""Calibrates on this machine and writes the costs of the installed targets in targets/*.toml anew."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec

import blast_deploy as bd
from blast_deploy.calibration.target_file import encode
from blast_deploy.console.progress import track
from blast_deploy.native import Library
from blast_deploy.targets import Costs, load_target, target_names

TARGETS = Path(__file__).parents[1] / "targets"
BEST = "native"


def measure(instruction_set: str) -> Costs:
    """Costs of this machine with kernels of one instruction set."""
    best = Library().instruction_sets()[0]
    with tempfile.TemporaryDirectory() as folder, track() as progress:
        path = Path(folder) / "measured.toml"
        result = bd.calibrate(
            path, instruction_set=best if instruction_set == BEST else instruction_set, progress=progress
        )
        if result.reasons:
            sys.exit(f"not judged: {'; '.join(result.reasons)}")
        costs = load_target(path).costs
    if result.instruction_set == best:
        return costs
    stands_in = (
        f"; body and dense ran with {best}, which ONNX Runtime cannot be kept from here: for them this "
        f"stands in for a machine that has {result.instruction_set} alone"
    )
    return msgspec.structs.replace(costs, origin=costs.origin + stands_in)


def main() -> None:
    """Measure each instruction set once, and write."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    found = {BEST: measure(BEST)}
    found[Library().instruction_sets()[0]] = found[BEST]
    for name in target_names():
        target = load_target(name)
        needed = str(target.options.get("instruction_set", BEST))
        if needed not in found:
            found[needed] = measure(needed)
        costs = found[needed]
        if not target.options["operator_library"]:
            kernels = dict.fromkeys(("kernel", "quantized_kernel", "gblr_kernel", "schedule"))
            costs = msgspec.structs.replace(costs, **kernels)
        (TARGETS / f"{name}.toml").write_bytes(encode(msgspec.structs.replace(target, costs=costs)))
        print(f"{name}: {costs.origin}")


if __name__ == "__main__":
    main()
