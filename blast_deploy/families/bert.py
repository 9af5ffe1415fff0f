"""BERT encoders, such as all-MiniLM-L6-v2: token ids in, the last hidden state out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from blast_deploy.errors import InvalidInputError

if TYPE_CHECKING:
    from transformers import BertConfig

_SAMPLE_SIZES = ((2, 9), (3, 16))
"""Batch and sequence of each sample; the shortest row of a sample is half padding."""


class BertFamily:
    """Adapter for ``BertModel``; see :class:`blast_deploy.families.family.Family`."""

    model_type = "bert"
    layer_pattern = "encoder.layer.*"
    input_names = ("input_ids", "attention_mask", "token_type_ids")
    output_names = ("last_hidden_state",)
    dynamic_axes: Mapping[str, Mapping[int, str]] = {
        name: {0: "batch", 1: "sequence"} for name in input_names
    }

    def __init__(self, config: BertConfig) -> None:
        self._config = config

    def sample_inputs(self, seed: int = 0) -> tuple[dict[str, NDArray[Any]], ...]:
        """Make two inputs of random tokens, int64 (batch, sequence), the last rows padded.

        Sequences stay within the model's positions.
        """
        random = np.random.default_rng(seed)
        longest = self._config.max_position_embeddings
        return tuple(self._sample(random, batch, min(length, longest)) for batch, length in _SAMPLE_SIZES)

    def _sample(self, random: np.random.Generator, batch: int, length: int) -> dict[str, NDArray[Any]]:
        shape = (batch, length)
        used = np.linspace(length, (length + 1) // 2, batch).astype(np.int64)
        mask = (np.arange(length) < used[:, None]).astype(np.int64)
        tokens = random.integers(0, self._config.vocab_size, shape, dtype=np.int64)
        padding = self._config.pad_token_id or 0
        segments = random.integers(0, self._config.type_vocab_size, shape, dtype=np.int64)
        return {
            "input_ids": np.where(mask == 1, tokens, padding),
            "attention_mask": mask,
            "token_type_ids": segments * mask,
        }

    def wrap(self, module: nn.Module) -> nn.Module:
        """Give a module ``(input_ids, attention_mask, token_type_ids) -> (last_hidden_state,)``.

        The hidden state is float (batch, sequence, hidden_size).

        Raises:
            InvalidInputError: If the module is not the plain encoder but one with a head.
        """
        base = getattr(module, "base_model", module)
        if base is not module:
            raise InvalidInputError(
                f"{type(module).__name__} has a head, and only the plain {type(base).__name__} is supported; "
                "pass its base_model"
            )
        return _LastHiddenState(module)


class _LastHiddenState(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor]:
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return (output.last_hidden_state,)
