from __future__ import annotations

import pytest
from torch import nn
from transformers import BertConfig, GPT2Config

from blast_deploy.errors import InvalidInputError
from blast_deploy.families.family import family


def test_bert_is_found_by_its_configuration() -> None:
    found = family(BertConfig())
    assert found.model_type == "bert"
    assert found.input_names == ("input_ids", "attention_mask", "token_type_ids")


def test_unknown_model_type_names_the_supported_ones() -> None:
    with pytest.raises(InvalidInputError, match="'gpt2' are not supported; supported: bert"):
        family(GPT2Config())


def test_bare_module_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="Linear is no Hugging Face model"):
        family(nn.Linear(2, 2))
