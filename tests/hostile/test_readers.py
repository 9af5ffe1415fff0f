"""Damaged files of every kind are read or refused in order; see ``reader.py`` for what that means."""

from __future__ import annotations

import pytest
from decisions import Decisions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import READERS

EXAMPLES = 300
SLOW_EXAMPLES = 2000
ROUNDS = 3
"""Most times that one file is damaged."""


@pytest.mark.parametrize("name", READERS)
def test_a_valid_file_is_taken(name: str) -> None:
    assert READERS[name].judge(READERS[name].valid())


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused(name: str) -> None:
    _search(name, EXAMPLES, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_damaged_files_are_read_or_refused(name: str) -> None:
    _search(name, SLOW_EXAMPLES, derandomize=False)


def _search(name: str, examples: int, *, derandomize: bool) -> None:
    """Judge damaged files: the same ones in every run of the fast suite, others each time in the slow one."""
    reader = READERS[name]

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=derandomize,
    )
    @given(st.integers(1, ROUNDS), st.binary(min_size=16, max_size=48))
    def judge(rounds: int, source: bytes) -> None:
        decisions, content = Decisions(source), reader.valid()
        for _ in range(rounds):
            content = reader.damaged(content, decisions)
        reader.judge(content)

    judge()
