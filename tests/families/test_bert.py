from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel

from blast_deploy.errors import InvalidInputError
from blast_deploy.families.bert import BertFamily


@pytest.fixture(scope="module")
def model(tiny_bert_folder: Path) -> BertModel:
    loaded = BertModel.from_pretrained(tiny_bert_folder, local_files_only=True)
    assert isinstance(loaded, BertModel)
    return loaded.eval()


def test_samples_are_what_the_model_takes(model: BertModel) -> None:
    samples = BertFamily(model.config).sample_inputs()
    assert len({sample["input_ids"].shape for sample in samples}) == len(samples) >= 2
    for sample in samples:
        assert tuple(sample) == BertFamily.input_names
        assert all(array.dtype == np.int64 for array in sample.values())
        assert sample["input_ids"].max() < model.config.vocab_size
        mask = sample["attention_mask"]
        assert mask[:, 0].all()
        assert 0 < mask.sum() < mask.size
        assert (np.diff(mask, axis=1) <= 0).all(), "padding lies at the end"
        assert (sample["input_ids"][mask == 0] == model.config.pad_token_id).all()
        assert len(np.unique(sample["input_ids"], axis=0)) == len(mask)


def test_samples_depend_on_the_seed_alone() -> None:
    adapter = BertFamily(BertConfig())
    first, again, other = (adapter.sample_inputs(seed)[0]["input_ids"] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_samples_stay_within_few_positions_and_one_segment() -> None:
    adapter = BertFamily(BertConfig(max_position_embeddings=5, type_vocab_size=1))
    for sample in adapter.sample_inputs():
        assert sample["input_ids"].shape[1] == 5
        assert not sample["token_type_ids"].any()


def test_wrapped_model_gives_the_hidden_state(model: BertModel) -> None:
    adapter = BertFamily(model.config)
    sample = {name: torch.from_numpy(array) for name, array in adapter.sample_inputs()[0].items()}
    with torch.no_grad():
        outputs = adapter.wrap(model)(*sample.values())
        expected = model(**sample).last_hidden_state
    assert isinstance(outputs, tuple)
    assert len(outputs) == len(adapter.output_names)
    assert torch.equal(outputs[0], expected)


def test_model_with_a_head_is_refused(model: BertModel) -> None:
    with pytest.raises(InvalidInputError, match="BertForMaskedLM has a head"):
        BertFamily(model.config).wrap(BertForMaskedLM(model.config))
