"""The fresh process in which a contender's memory is measured; ``memory.py`` starts it."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import sys
from pathlib import Path

import numpy as np

from blast_deploy.bench import memory
from blast_deploy.bench.contenders import find_sources


def main(path: str, threads: str, inputs_file: str) -> None:
    """Open, run and measure one contender, and print how much this process grew as JSON."""
    with np.load(inputs_file, allow_pickle=False) as stored:
        inputs = {name: stored[name] for name in stored.files}
    (source,) = find_sources([path])
    gc.collect()
    _forget_peak()
    before = memory.read_own()
    contender = source.open(int(threads))
    for _ in range(memory.RUNS):
        contender.run(inputs)
    after = memory.read_own()
    contender.close()
    print(json.dumps(dataclasses.asdict(memory.growth(before, after))))


def _forget_peak() -> None:
    """Let the peak count from now on; where that is forbidden, the peak so far is near what is resident."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main(*sys.argv[1:])
