"""Small models that several test modules share; everything is made here, nothing is fetched."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

_WORDS = (
    "a an and animal at bird blue cat cold dog fast for green house in is it large light man night of old "
    "on red river road run she sky slow small stone that the tree under water white wind with woman young"
)
TINY_WORDS = _WORDS.split()
"""The tiny tokenizer's whole words."""


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


def make_tiny_bert(folder: Path, seed: int = 0) -> None:
    """Write the tiny BERT and its tokenizer into a folder."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *TINY_WORDS]
    words = folder / "vocab.txt"
    words.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=36,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=50,
        max_position_embeddings=48,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config).eval()
        for parameter in model.parameters():
            # The default spread of 0.02 makes every layer nearly linear and every output nearly equal.
            if parameter.dim() == 2:
                torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    BertTokenizer(vocab=str(words), model_max_length=48).save_pretrained(folder)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Let child processes take Ctrl-C: a suite started in the background inherits that it is ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
