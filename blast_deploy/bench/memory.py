"""What a contender costs in memory, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.staging import scratch_folder

RUNS = 3
MEBIBYTE = 2.0**20


@dataclass(frozen=True)
class Memory:
    """How much a process grew by opening a contender and running it, in MiB.

    Attributes:
        peak: Most that was resident at any time, loading included.
        resident: Resident after the runs; weights mapped from a file count where they were touched.
        private: Of that, what belongs to this process alone and no file backs, so that the system cannot
            take it back or share it.
    """

    peak: float
    resident: float
    private: float


@dataclass(frozen=True)
class ProcessMemory:
    """Memory of a process in bytes, from Linux' ``/proc``."""

    resident: int
    private: int
    peak: int


def measure(path: Path, threads: int, inputs: Mapping[str, NDArray[Any]]) -> Memory | None:
    """Open and run a contender in a fresh process, and see how much that process grew.

    Args:
        path: The artifact's folder, or the ``.onnx`` file.
        threads: Threads of the runtime.
        inputs: What to run it on.

    Returns:
        None where the system does not say (only Linux does).

    Raises:
        InvalidInputError: If the contender could be opened here but not in a process of its own.
    """
    if not Path("/proc/self/smaps_rollup").is_file():
        return None
    with scratch_folder() as folder:
        stored = folder / "inputs.npz"
        np.savez(stored, **dict(inputs))  # type: ignore[arg-type]  # the stub takes names for options
        probe = ["-m", "blast_deploy.bench.memory_probe", str(path), str(threads), str(stored)]
        finished = subprocess.run([sys.executable, *probe], capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        reason = (finished.stderr.strip().splitlines() or ["it was killed"])[-1]
        raise InvalidInputError(
            f"{path} could not be run in a process of its own ({reason}); free some memory"
        )
    return Memory(**json.loads(finished.stdout.splitlines()[-1]))


def growth(before: ProcessMemory, after: ProcessMemory) -> Memory:
    """How much a process grew between two readings, never below 0."""
    return Memory(
        peak=max(0, after.peak - before.resident) / MEBIBYTE,
        resident=max(0, after.resident - before.resident) / MEBIBYTE,
        private=max(0, after.private - before.private) / MEBIBYTE,
    )


def parse(smaps_rollup: str, status: str) -> ProcessMemory:
    """Read the contents of ``/proc/self/smaps_rollup`` and ``/proc/self/status``."""
    sizes = _kilobytes(smaps_rollup)
    return ProcessMemory(
        resident=sizes["Rss"] * 1024,
        private=(sizes["Private_Dirty"] + sizes.get("Swap", 0)) * 1024,
        peak=_kilobytes(status)["VmHWM"] * 1024,
    )


def read_own() -> ProcessMemory:
    """Memory of this process now."""
    own = Path("/proc/self")
    return parse((own / "smaps_rollup").read_text(), (own / "status").read_text())


def _kilobytes(text: str) -> dict[str, int]:
    words = (line.split() for line in text.splitlines())
    return {
        fields[0].rstrip(":"): int(fields[1]) for fields in words if len(fields) == 3 and fields[2] == "kB"
    }
