"""Memory of a process, from recorded contents of /proc and from a process that really allocates."""

from __future__ import annotations

from pathlib import Path

import pytest

from blast_deploy.bench import memory

SMAPS = """56496e39b000-7ffcfb95d000 ---p 00000000 00:00 0                          [rollup]
Rss:                1760 kB
Pss:                 345 kB
Private_Clean:        40 kB
Private_Dirty:       112 kB
Swap:                  8 kB
"""
STATUS = """Name:	python
VmHWM:	    2000 kB
VmRSS:	    1760 kB
"""


def test_reading_proc() -> None:
    found = memory.parse(SMAPS, STATUS)
    assert found == memory.ProcessMemory(resident=1760 * 1024, private=120 * 1024, peak=2000 * 1024)


def test_growth_is_in_mebibytes_and_never_negative() -> None:
    mebibyte = 1 << 20
    before = memory.ProcessMemory(10 * mebibyte, 8 * mebibyte, 11 * mebibyte)
    after = memory.ProcessMemory(14 * mebibyte, 6 * mebibyte, 20 * mebibyte)
    assert memory.growth(before, after) == memory.Memory(peak=10.0, resident=4.0, private=0.0)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux says")
def test_what_a_process_allocates_shows() -> None:
    before = memory.read_own()
    held = bytearray(64 << 20)
    after = memory.read_own()
    grown = memory.growth(before, after)
    assert len(held) == 64 << 20
    assert grown.private == pytest.approx(64.0, abs=8.0)
    assert grown.resident == pytest.approx(64.0, abs=8.0)
