from __future__ import annotations

import ctypes
import json
import math
from pathlib import Path

import pytest

from blast_deploy.bench import peaks
from blast_deploy.bench.caches import TYPICAL, cache_sizes
from blast_deploy.bench.load import usable_cpus
from blast_deploy.bench.peaks import MEMORY, measure_peaks
from blast_deploy.errors import InvalidInputError
from blast_deploy.native import Library
from blast_deploy.results import to_json


def describe_caches(folder: Path, *caches: tuple[str, str, str]) -> Path:
    """Write what the system says of the first CPU's caches: level, type and size of each."""
    for number, cache in enumerate(caches):
        index = folder / f"cpu{usable_cpus()[0]}" / "cache" / f"index{number}"
        index.mkdir(parents=True)
        for name, value in zip(("level", "type", "size"), cache, strict=True):
            (index / name).write_text(value + "\n")
    return folder


def test_peaks_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "_LARGEST_BUFFER", 8 << 20)
    steps: list[tuple[int, int, str]] = []
    found = measure_peaks(lambda *step: steps.append(step))
    sets = Library().instruction_sets()
    assert tuple(found.gigaflops) == sets
    assert [step[:2] for step in steps] == [(done, len(sets)) for done in range(len(sets))]
    assert set(found.gigabytes_per_second) == {*found.cache_bytes, MEMORY}
    rates = [*found.gigaflops.values(), *found.gigabytes_per_second.values()]
    assert all(math.isfinite(rate) and rate > 0 for rate in rates)
    assert json.loads(to_json(found))["cache_origin"] == found.cache_origin


def test_caches_without_word_from_the_system_are_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "cache_sizes", dict)
    monkeypatch.setattr(peaks, "_LARGEST_BUFFER", 1 << 20)
    monkeypatch.setenv("BLAST_DEPLOY_MAX_INSTRUCTION_SET", Library().instruction_sets()[-1])
    found = measure_peaks()
    assert found.cache_origin == "assumed"
    assert found.cache_bytes == TYPICAL
    assert len(found.gigaflops) == 1


def test_data_caches_are_listed_in_rising_order(tmp_path: Path) -> None:
    described = describe_caches(
        tmp_path,
        ("3", "Unified", "32768K"),
        ("1", "Data", "48K"),
        ("1", "Instruction", "64K"),
        ("2", "Unified", "2M"),
    )
    assert cache_sizes(described) == {"L1": 48 << 10, "L2": 2 << 20, "L3": 32 << 20}
    assert list(cache_sizes(described)) == ["L1", "L2", "L3"]


@pytest.mark.parametrize("size", ["", "0K", "-1K", "many", "32 K", "9999999999K"])
def test_a_size_that_cannot_be_read_is_left_out(tmp_path: Path, size: str) -> None:
    described = describe_caches(tmp_path, ("1", "Data", size), ("2", "Unified", "512K"))
    assert cache_sizes(described) == {"L2": 512 << 10}


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert cache_sizes(tmp_path) == {}


@pytest.mark.parametrize("size", [0, -1, 2**40 + 1])
def test_a_buffer_that_cannot_be_is_refused(size: int) -> None:
    with pytest.raises(InvalidInputError, match=r"must have 1 to 1099511627776 bytes \(got"):
        peaks._gigabytes_per_second(Library(), Library().instruction_sets()[-1], size)


def test_an_instruction_set_that_the_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lowest = Library().instruction_sets()[-1]
    monkeypatch.setenv("BLAST_DEPLOY_MAX_INSTRUCTION_SET", lowest)
    missing = "neon" if lowest != "neon" else "x86-64"
    with pytest.raises(InvalidInputError, match=f"made for {missing}"):
        Library().call("blast_deploy_machine_fma_peak", missing.encode(), ctypes.byref(ctypes.c_double()))
