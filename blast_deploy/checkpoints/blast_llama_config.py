"""The configuration of a published ``blast_llama`` folder: which linear layers are structured, and how.

The rules are those of the published code (github.com/changwoolee/BLAST, ``models/modeling_blast.py``). A
linear layer inside the decoder, say ``0.self_attn.q_proj``, is structured if its number is in ``indices`` and
an entry of ``target_modules`` is part of its name. Every save wraps ``blast_num_blocks`` in one more list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard, TypeVar

from blast_deploy.errors import InvalidInputError

MODEL_TYPE = "blast_llama"

Item = TypeVar("Item")

_FIELDS = ("target_modules", "blast_rank", "blast_num_blocks", "indices")
_WITHOUT_MEANING = ("blast_decomposed_weight_path",)
"""Where the training script once read its start from; the weights in the folder are what counts."""
_LLAMA_FIELDS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "initializer_range"),
    *("rms_norm_eps", "use_cache", "pad_token_id", "bos_token_id", "eos_token_id", "pretraining_tp"),
    *("tie_word_embeddings", "rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor"),
    *("attention_bias", "attention_dropout", "mlp_bias"),
)
"""What a Llama model reads. The rest is left behind: some of it would have transformers run code."""


@dataclass(frozen=True)
class Shape:
    """How a layer is structured: b1 and b2, and the rank r."""

    blocks: tuple[int, int]
    rank: int


@dataclass(frozen=True)
class BlastLlamaConfig:
    """A configuration whose fields have the right types.

    Attributes:
        file: Where it was read.
        target_modules: Parts of the names of structured layers.
        indices: Numbers of the decoder layers that have any.
        blast_rank: In any of the forms that :meth:`shape` understands.
        blast_num_blocks: Likewise.
        layers: Number of decoder layers.
        tied: Whether the output head is the embedding.
        llama: What the plain Llama model is configured by.
    """

    file: Path
    target_modules: tuple[str, ...]
    indices: frozenset[int]
    blast_rank: object
    blast_num_blocks: object
    layers: int
    tied: bool
    llama: Mapping[str, object]

    def shape(self, name: str, out_features: int, in_features: int) -> Shape | None:
        """Decide how a linear layer is structured.

        A rank is an integer, a fraction of the smaller side, a dictionary by parts of names, or a list with
        one entry for each decoder layer. A number of blocks is an integer, a pair (b1, b2), or such a
        dictionary or list. Lists of one stand for what they hold. In a model of two layers two numbers of
        blocks are a pair, as in the published code.

        Args:
            name: Name inside the stack of decoder layers, such as ``0.self_attn.q_proj``.
            out_features: Rows m of its weight.
            in_features: Columns n of its weight.

        Returns:
            None for a dense layer.

        Raises:
            InvalidInputError: If its rank or blocks cannot be told, or the blocks do not divide its sizes.
        """
        layer = int(name.split(".", 1)[0])
        if layer not in self.indices or not any(part in name for part in self.target_modules):
            return None
        rank = self._entry("blast_rank", self.blast_rank, name, layer)
        if isinstance(rank, float) and 0 < rank <= 1:
            rank = int(rank * min(out_features, in_features))
        if not _is_count(rank):
            raise self._unknown("blast_rank", rank, name)
        counts = self._entry("blast_num_blocks", self.blast_num_blocks, name, layer)
        pair = (counts, counts) if _is_count(counts) else _pair(counts)
        if pair is None or min(pair) < 1:
            raise self._unknown("blast_num_blocks", counts, name)
        b1, b2 = pair
        if out_features % b1 or in_features % b2:
            raise InvalidInputError(
                f"{self.file} cuts {name} of {out_features} x {in_features} into {b1} x {b2} blocks, "
                "which do not divide it; mend blast_num_blocks"
            )
        return Shape(pair, rank)

    def _entry(self, field: str, value: object, name: str, layer: int) -> object:
        """Follow lists and dictionaries to what holds for one layer, each kind at most once."""
        by_name = by_layer = False
        while True:
            value = _unwrapped(value)
            if isinstance(value, dict) and not by_name:
                value, by_name = self._by_name(field, value, name), True
            elif isinstance(value, list) and not by_layer and self._is_by_layer(field, value):
                value, by_layer = value[layer], True
            else:
                return value

    def _is_by_layer(self, field: str, value: list[object]) -> bool:
        pair = field == "blast_num_blocks" and _pair(value) is not None
        return len(value) == self.layers and not pair

    def _by_name(self, field: str, entries: Mapping[str, object], name: str) -> object:
        found = {part: entry for part, entry in entries.items() if part in name}
        if not found:
            raise InvalidInputError(
                f"{field} in {self.file} has no entry for {name}; add one or mend target_modules"
            )
        first, *others = found.values()
        if any(entry != first for entry in others):
            raise InvalidInputError(
                f"{field} in {self.file} has different entries for {name} "
                f"({', '.join(map(repr, found))}); keep one"
            )
        return first

    def _unknown(self, field: str, value: object, name: str) -> InvalidInputError:
        return InvalidInputError(
            f"{field} in {self.file} gives {_short(value)} for {name}, which is no form of it; "
            "give a positive number, or one for each layer or module"
        )


def parse(values: Mapping[str, object], file: Path) -> BlastLlamaConfig:
    """Check the fields of a configuration of model type ``blast_llama``.

    Args:
        values: The configuration.
        file: Where it was read.

    Raises:
        InvalidInputError: If a field is missing, of another type, or not known to this version.
    """
    missing = [field for field in (*_FIELDS, "num_hidden_layers") if field not in values]
    if missing:
        raise InvalidInputError(
            f"{file} has no {missing[0]}, which {MODEL_TYPE} needs; copy the folder again"
        )
    known = (*_FIELDS, *_WITHOUT_MEANING)
    newer = [field for field in values if field.startswith("blast_") and field not in known]
    if newer:
        raise InvalidInputError(
            f"{file} has a field {newer[0]!r}, which this version does not know; update blast-deploy"
        )
    if values.get("quantization_config") is not None:
        raise InvalidInputError(f"{file} names quantised weights, which cannot be read; give the float model")
    layers = values["num_hidden_layers"]
    if not _is_count(layers):
        raise InvalidInputError(f"num_hidden_layers in {file} is no positive number; copy the folder again")
    return BlastLlamaConfig(
        file=file,
        target_modules=tuple(_list_of(str, "target_modules", values, file)),
        indices=frozenset(_list_of(int, "indices", values, file)),
        blast_rank=values["blast_rank"],
        blast_num_blocks=values["blast_num_blocks"],
        layers=layers,
        tied=values.get("tie_word_embeddings", False) is True,
        llama={field: values[field] for field in _LLAMA_FIELDS if field in values},
    )


def _list_of(kind: type[Item], field: str, values: Mapping[str, object], file: Path) -> list[Item]:
    found = values[field]
    if not isinstance(found, list) or not all(type(item) is kind for item in found):
        raise InvalidInputError(f"{field} in {file} must be a list of {kind.__name__}; copy the folder again")
    return found


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and value > 0


def _unwrapped(value: object) -> object:
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def _pair(value: object) -> tuple[int, int] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    first, second = _unwrapped(value[0]), _unwrapped(value[1])
    return (first, second) if type(first) is int and type(second) is int else None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
