"""How well sentence embeddings survive compression: near the original's, and still able to find a gloss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy import runner
from blast_deploy.demo.wordnet import Pair
from blast_deploy.results import QualityMetric, QualityResult

Float64 = NDArray[np.float64]
Encode = Callable[[dict[str, NDArray[Any]]], NDArray[np.floating]]
"""Token arrays (batch, sequence) by input name, to the last hidden state, float (batch, sequence, hidden)."""
Progress = Callable[[int, int, str], None]

MAX_TOKENS = 64
PROTOCOL = (
    "WordNet 3.1 pairs of example and gloss (500 in the demo, seed 0), at most 64 tokens, mean pooling, "
    "normalised: mean cosine with the original's embeddings, Spearman correlation of all example-to-gloss "
    "similarities with the original's, mean reciprocal rank (MRR) of each example's own gloss"
)
_BATCH_ROWS = 32


def measure_quality(
    artifact: Path,
    dense_model: Path,
    tokenizer_folder: Path,
    pairs: Sequence[Pair],
    *,
    progress: Progress | None = None,
) -> QualityResult:
    """Judge an artifact's sentence embeddings by those of its dense original.

    Args:
        artifact: The compiled model; its first output is the last hidden state.
        dense_model: The original as ONNX, with the same inputs and outputs.
        tokenizer_folder: A folder with the tokenizer of both.
        pairs: Test pairs.
        progress: Called with texts done, texts in all and what is being embedded.

    Raises:
        InvalidInputError: If the artifact is missing or damaged.
    """
    import onnxruntime

    tokenizer = load_tokenizer(tokenizer_folder)
    with runner.open(artifact) as opened:
        output = opened.outputs[0].name
        embeddings = embed_pairs(pairs, tokenizer, lambda inputs: opened.run(inputs)[output], progress)
    session = onnxruntime.InferenceSession(str(dense_model), providers=["CPUExecutionProvider"])
    original = embed_pairs(pairs, tokenizer, lambda inputs: session.run([output], inputs)[0], progress)
    return QualityResult(artifact, dense_model, PROTOCOL, compare(embeddings, original))


def load_tokenizer(folder: Path) -> Any:
    """Load a model folder's tokenizer, without any network."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def embed_pairs(
    pairs: Sequence[Pair], tokenizer: Any, encode: Encode, progress: Progress | None = None
) -> Float64:
    """Embed all examples and then all glosses; see :func:`embed`."""
    texts = [pair.example for pair in pairs] + [pair.gloss for pair in pairs]
    return embed(texts, tokenizer, encode, progress)


def embed(texts: Sequence[str], tokenizer: Any, encode: Encode, progress: Progress | None = None) -> Float64:
    """Embed texts: the mean of the last hidden state over each text's tokens, normalised.

    Args:
        texts: What to embed.
        tokenizer: A Hugging Face tokenizer.
        encode: The model.
        progress: Called with texts done, texts in all and what is being done.

    Returns:
        Float64 (texts, hidden), rows of unit length.
    """
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    rows: dict[int, Float64] = {}
    for start in range(0, len(order), _BATCH_ROWS):
        indices = order[start : start + _BATCH_ROWS]
        tokens = tokenizer(
            [texts[index] for index in indices],
            padding=True,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="np",
        )
        inputs = {name: np.asarray(array, np.int64) for name, array in tokens.items()}
        rows.update(zip(indices, _pooled(encode(inputs), inputs["attention_mask"]), strict=True))
        if progress is not None:
            progress(len(rows), len(texts), "embed sentences")
    return np.stack([rows[index] for index in range(len(texts))])


def compare(embeddings: Float64, original: Float64) -> tuple[QualityMetric, ...]:
    """Compare embeddings of examples and glosses with the original's.

    Args:
        embeddings: Float64 (2 pairs, hidden): all examples, then all glosses, rows of unit length.
        original: The same of the original model.

    Returns:
        Mean cosine with the original, Spearman correlation of all example-to-gloss similarities with the
        original's, and mean reciprocal rank of the right gloss.
    """
    similarities, expected = _similarities(embeddings), _similarities(original)
    cosine = float((embeddings * original).sum(axis=1).mean())
    return (
        QualityMetric("mean cosine", cosine, 1.0),
        QualityMetric("Spearman", spearman(similarities.ravel(), expected.ravel()), 1.0),
        QualityMetric("MRR", mean_reciprocal_rank(similarities), mean_reciprocal_rank(expected)),
    )


def mean_reciprocal_rank(similarities: Float64) -> float:
    """Average 1 / place of each row's own column; ties count as lost.

    Args:
        similarities: Float64 (pairs, pairs); row i belongs to column i.
    """
    places = (similarities >= np.diag(similarities)[:, None]).sum(axis=1)
    return float((1 / places).mean())


def spearman(first: Float64, second: Float64) -> float:
    """Rank correlation of two vectors; equal values share their mean rank; 0 where one is constant."""
    centred = [ranks - ranks.mean() for ranks in (_ranks(first), _ranks(second))]
    norm = float(np.linalg.norm(centred[0]) * np.linalg.norm(centred[1]))
    return float(centred[0] @ centred[1]) / norm if norm else 0.0


def _ranks(values: Float64) -> Float64:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    ranks: Float64 = (last - (counts - 1) / 2)[inverse]
    return ranks


def _similarities(embeddings: Float64) -> Float64:
    half = len(embeddings) // 2
    product: Float64 = embeddings[:half] @ embeddings[half:].T
    return product


def _pooled(hidden: NDArray[np.floating], mask: NDArray[np.int64]) -> Float64:
    weights = mask[:, :, None].astype(np.float64)
    means = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    normalised: Float64 = means / np.linalg.norm(means, axis=1, keepdims=True)
    return normalised
