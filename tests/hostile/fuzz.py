"""Search damaged files guided by the code they reach: ``python tests/hostile/fuzz.py model -runs=100000``.

The first argument names a reader of ``readers.py``, the others are libFuzzer's. A file that breaks a reader
is kept as ``crash-...`` in the working directory, or at ``-artifact_prefix``.
"""

from __future__ import annotations

import logging
import random
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))
_WATCHED = ["blast_deploy", "onnx_ir", "tomllib", "json", "zipfile", "numpy.lib"]
with atheris.instrument_imports(include=_WATCHED):
    from decisions import Decisions
    from readers import READERS

_DECISIONS = 32
"""Bytes that one damage may read its choices from."""


def main() -> None:
    """Fuzz the reader that the first argument names."""
    reader = READERS[sys.argv.pop(1)]
    logging.disable()
    warnings.simplefilter("ignore")

    def damage(content: bytes, longest: int, seed: int) -> bytes:
        if seed % 2:
            return bytes(atheris.Mutate(content, longest))
        choices = random.Random(seed).randbytes(_DECISIONS)
        return reader.damaged(content, Decisions(choices))[:longest]

    with tempfile.TemporaryDirectory() as corpus:
        (Path(corpus) / "valid").write_bytes(reader.valid())
        # The reader watches the time itself, by the same signal as libFuzzer would.
        options = [f"-max_len={4 * len(reader.valid())}", "-timeout=0", "-print_final_stats=1"]
        atheris.Setup([*sys.argv, *options, corpus], reader.judge, custom_mutator=damage)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
