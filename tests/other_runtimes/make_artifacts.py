"""Compile one artifact for each form with the runtime at hand: ``python make_artifacts.py FOLDER``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from portable_models import LayerSizes, forcing, random_layers, write_portable

import blast_deploy as bd

SIZES = (LayerSizes(96, 90, (4, 3), 24), LayerSizes(80, 96, (4, 4), 24))


def main(folder: Path) -> None:
    """Write ``FOLDER/portable`` and, for each form and element type, ``FOLDER/FORM-TYPE``."""
    shutil.rmtree(folder, ignore_errors=True)
    for dtype in ("float32", "float16", "float64"):
        portable = folder / "portable" / dtype
        portable.mkdir(parents=True)
        source = write_portable(portable, random_layers(SIZES, dtype=dtype))
        for form in ("kernel", "body", "dense"):
            bd.compile(source, forcing(form), folder / f"{form}-{dtype}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
