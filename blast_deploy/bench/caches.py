"""The data caches of a core, as the system describes them."""

from __future__ import annotations

import re
from pathlib import Path

from blast_deploy.bench.load import usable_cpus

TYPICAL = {"L1": 32 << 10, "L2": 1 << 20, "L3": 16 << 20}
"""Sizes to go by where the system does not tell."""

_CPUS = Path("/sys/devices/system/cpu")
_SIZE = re.compile(r"([1-9]\d{0,8})([KMG]?)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def cache_sizes(cpus: Path = _CPUS) -> dict[str, int]:
    """Bytes of each level of data cache of the first CPU that this process may use.

    Args:
        cpus: Folder in which the system describes its CPUs.

    Returns:
        ``L1`` and on to bytes, in rising order; empty where the system does not tell.
    """
    folder = cpus / f"cpu{usable_cpus()[0]}" / "cache"
    sizes: dict[str, int] = {}
    for index in sorted(folder.glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        match = _SIZE.fullmatch(size)
        if kind != "Instruction" and level.isdecimal() and match is not None:
            sizes[f"L{int(level)}"] = int(match[1]) * _UNITS[match[2]]
    return dict(sorted(sizes.items()))
