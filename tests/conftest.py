"""Small models that several test modules share; everything is made here, nothing is fetched."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from tiny_models import TINY_WORDS, make_tiny_bert

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# How long a case takes says nothing on a busy machine.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def tiny_bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer BERT with random weights and a word tokenizer, as a Hugging Face folder; never write to it.

    Hidden size 36 and intermediate size 50: 50 does not divide into 4 blocks. Twelve encoder linear layers.
    """
    folder = tmp_path_factory.mktemp("tiny-bert")
    make_tiny_bert(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calibration text for the tiny BERT: forty sentences of its own words, lengths from 3 to 12."""
    path = tmp_path_factory.mktemp("tiny-text") / "sentences.txt"
    count = len(TINY_WORDS)
    sentences = [
        " ".join(TINY_WORDS[(7 * row + 5 * place * place) % count] for place in range(3 + row % 10))
        for row in range(40)
    ]
    path.write_text("\n".join(sentences) + "\n", encoding="utf-8")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what makes the tiny BERT: that takes torch and transformers."""
    for item in items:
        if "tiny_bert_folder" in getattr(item, "fixturenames", ()):
            item.add_marker("extras")


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Let child processes take Ctrl-C: a suite started in the background inherits that it is ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
