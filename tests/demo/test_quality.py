from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from blast_deploy.demo.quality import (
    compare,
    embed,
    embed_pairs,
    load_tokenizer,
    mean_reciprocal_rank,
    spearman,
)
from blast_deploy.demo.wordnet import Pair


def unit_rows(rows: int, width: int, seed: int = 0) -> NDArray[np.float64]:
    values = np.random.default_rng(seed).normal(size=(rows, width))
    normalised: NDArray[np.float64] = values / np.linalg.norm(values, axis=1, keepdims=True)
    return normalised


@given(
    hnp.arrays(np.float64, 12, elements=st.integers(-3, 3)),
    hnp.arrays(np.float64, 12, elements=st.integers(-9, 9)),
)
def test_spearman_is_the_correlation_of_mean_ranks(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> None:
    def ranks(values: NDArray[np.float64]) -> list[float]:
        return [float((values < value).sum() + (values == value).sum() / 2) for value in values]

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert spearman(first, second) == 0
    else:
        expected = np.corrcoef(ranks(first), ranks(second))[0, 1]
        assert spearman(first, second) == pytest.approx(expected, abs=1e-12)


def test_spearman_by_hand() -> None:
    # Without ties it is 1 - 6 sum d^2 / (n (n^2 - 1)), here with differences 0, 1, 1, 0.
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([10.0, 30, 20, 99])) == pytest.approx(1 - 6 * 2 / 60)


def test_reciprocal_rank_by_hand() -> None:
    similarities = np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.4, 0.4, 0.4]])
    # First place, second place, and a tie of all three, which counts as third.
    assert mean_reciprocal_rank(similarities) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_the_original_against_itself_is_perfect() -> None:
    embeddings = unit_rows(20, 8)
    cosine, correlation, rank = compare(embeddings, embeddings)
    assert cosine.value == pytest.approx(1)
    assert correlation.value == pytest.approx(1)
    assert rank.value == rank.original > 0


def test_worse_embeddings_score_lower_in_every_measure() -> None:
    half = unit_rows(200, 16)
    original = np.concatenate([half, half])
    scores = []
    for noise in (0.5, 1.0, 3.0):
        disturbed = original + noise * unit_rows(400, 16, seed=1)
        disturbed /= np.linalg.norm(disturbed, axis=1, keepdims=True)
        scores.append([metric.value for metric in compare(disturbed, original)])
    assert [metric.name for metric in compare(original, original)] == ["mean cosine", "Spearman", "MRR"]
    for good, middling, bad in zip(*scores, strict=True):
        assert good > middling > bad


def test_embedding_is_the_normalised_mean_over_tokens(tiny_bert_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_bert_folder)
    texts = ["the red bird", "a", "she ran to the house of the old man under the tree"]
    table = np.random.default_rng(0).normal(size=(len(tokenizer), 6))
    found = embed(texts, tokenizer, lambda inputs: table[inputs["input_ids"]])
    for text, row in zip(texts, found, strict=True):
        mean = table[tokenizer(text).input_ids].mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean))


def test_long_texts_are_cut_and_order_is_kept(tiny_bert_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_bert_folder)
    widths: list[int] = []
    seen: list[tuple[int, int, str]] = []

    def encode(inputs: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
        widths.append(inputs["input_ids"].shape[1])
        assert all(array.dtype == np.int64 for array in inputs.values())
        return np.stack([inputs["input_ids"], inputs["attention_mask"]], axis=-1).astype(np.float64)

    pairs = [Pair("the bird " * (1 + number % 40), "a red dog") for number in range(50)]
    rows = embed_pairs(pairs, tokenizer, encode, lambda *report: seen.append(report))
    assert rows.shape == (100, 2)
    assert max(widths) == 64
    assert np.allclose(rows[50:], rows[50])
    assert not np.allclose(rows[0], rows[1])
    assert seen[-1][:2] == (100, 100)
