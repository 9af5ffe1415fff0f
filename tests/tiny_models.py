"""A Hugging Face model so small that it is made in no time."""

from __future__ import annotations

from pathlib import Path

_WORDS = (
    "a an and animal at bird blue cat cold dog fast for green house in is it large light man night of old "
    "on red river road run she sky slow small stone that the tree under water white wind with woman young"
)
TINY_WORDS = _WORDS.split()
"""The tiny tokenizer's whole words."""


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
