from __future__ import annotations

import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blast_deploy.calibration.target_file import encode
from blast_deploy.results import MachinePeaks
from blast_deploy.targets import MemoryCosts, ScheduleCosts, decode, load_target, target_names


@pytest.mark.parametrize("name", target_names())
def test_what_is_written_is_read_back(name: str) -> None:
    target = load_target(name)
    assert decode(encode(target), "written.toml") == target


def test_every_table_is_written() -> None:
    target = load_target("cpu-native")
    whole = msgspec.structs.replace(
        target,
        costs=msgspec.structs.replace(
            target.costs,
            memory=MemoryCosts(1 << 25, 77.0, 24.5),
            schedule=ScheduleCosts(70, 2.5),
        ),
        peaks=MachinePeaks({"x86-64-v4": 118.0}, {"L1": 2e-6, "memory": 1e12}, {"L1": 32768}, "assumed"),
    )
    assert decode(encode(whole), "written.toml") == whole


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(1e-6, 1e12))
def test_any_words_and_numbers(words: str, number: float) -> None:
    target = load_target("cpu-stock")
    costs = msgspec.structs.replace(target.costs.body, gigaflops=number)
    odd = msgspec.structs.replace(
        target, summary=words, costs=msgspec.structs.replace(target.costs, origin=words, body=costs)
    )
    assert decode(encode(odd), "written.toml") == odd


def test_names_that_need_quotes() -> None:
    odd = msgspec.structs.replace(
        load_target("cpu-stock"),
        peaks=MachinePeaks({"a b.c": 1.0, "": 2.0}, {}, {}, "system"),
    )
    assert tomllib.loads(encode(odd).decode())["peaks"]["gigaflops"] == {"a b.c": 1.0, "": 2.0}
