"""Tiny published checkpoints, written as the authors' code writes them, and what they mean in float64.

Nothing here uses the readers. Names, axes, files and configurations are those that ``BlastModelForCausalLM``
and ``blastify_llama.py`` (github.com/changwoolee/BLAST) leave with transformers 4.44.2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

HIDDEN, INTERMEDIATE, HEADS, KEY_HEADS, VOCABULARY = 24, 40, 4, 2, 50
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
TARGETS = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
SIZES = {
    "q_proj": (HIDDEN, HIDDEN),
    "k_proj": (HIDDEN // 2, HIDDEN),
    "v_proj": (HIDDEN // 2, HIDDEN),
    "o_proj": (HIDDEN, HIDDEN),
    "gate_proj": (INTERMEDIATE, HIDDEN),
    "up_proj": (INTERMEDIATE, HIDDEN),
    "down_proj": (HIDDEN, INTERMEDIATE),
}
"""Rows and columns of each linear layer."""

Layout = Literal["safetensors", "sharded safetensors", "bin", "sharded bin"]
Shape = tuple[int, int, int]
"""b1, b2 and r."""
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Published:
    """A folder, the tensors in it, and its structured layers by their names in the plain decoder."""

    folder: Path
    tensors: Mapping[str, Tensor]
    layers: Mapping[str, Shape]
    prefix: str

    def factor(self, layer: str, name: str) -> Tensor:
        return self.tensors[f"{self.prefix}{layer}.{name}"]

    def weight(self, layer: str) -> Float64:
        """The published formula of one weight, block by block."""
        b, c, d = (self.factor(layer, name).double().numpy() for name in "BCD")
        return blocks_multiplied(b, c, lambda i, j: d[i, j])

    def hidden(self, tokens: Tensor) -> Tensor:
        """What an ordinary Llama gives in float64 when it has the multiplied weights."""
        from transformers import LlamaConfig, LlamaModel

        values = json.loads((self.folder / "config.json").read_text())
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            intermediate_size=INTERMEDIATE,
            num_hidden_layers=values["num_hidden_layers"],
            num_attention_heads=HEADS,
            num_key_value_heads=KEY_HEADS,
            rms_norm_eps=values["rms_norm_eps"],
            attention_bias=values["attention_bias"],
            mlp_bias=values["mlp_bias"],
            rope_parameters={"rope_type": "default", "rope_theta": values["rope_theta"]},
        )
        model = LlamaModel(config).double().eval()
        state = {
            name.removeprefix(self.prefix): tensor.double()
            for name, tensor in self.tensors.items()
            if name != "lm_head.weight" and name.rpartition(".")[2] not in "BCD"
        }
        state |= {f"{layer}.weight": torch.from_numpy(self.weight(layer)) for layer in self.layers}
        model.load_state_dict(state)
        with torch.no_grad():
            return model(input_ids=tokens).last_hidden_state


def blocks_multiplied(b: Float64, c: Float64, coupling: Any) -> Float64:
    """Block (i, j) is ``B_i diag(coupling(i, j)) C_j``."""
    rows = [
        np.concatenate([b[i] @ np.diag(coupling(i, j)) @ c[j] for j in range(len(c))], axis=1)
        for i in range(len(b))
    ]
    return np.concatenate(rows)


def forward(x: Float64, b: Float64, c: Float64, d: Float64) -> Float64:
    """The published forward pass of rows ``x``, with D as (b1, b2, r)."""
    cut = np.split(x, len(c), axis=1)
    y = [cut[j] @ c[j].T for j in range(len(c))]
    z = [sum(y[j] * d[i, j] for j in range(len(c))) for i in range(len(b))]
    return np.concatenate([z[i] @ b[i].T for i in range(len(b))], axis=1)


def layer_name(number: int, module: str) -> str:
    return f"layers.{number}.{'self_attn' if module in ATTENTION else 'mlp'}.{module}"


def every_layer(shape: Shape, layers: int = 2) -> dict[str, Shape]:
    return {layer_name(number, module): shape for number in range(layers) for module in TARGETS}


def write_published(
    folder: Path,
    shapes: Mapping[str, Shape] | None = None,
    *,
    layers: int = 2,
    dtype: torch.dtype = torch.float32,
    layout: Layout = "safetensors",
    tied: bool = False,
    bias: bool = False,
    head: bool = True,
    **fields: Any,
) -> Published:
    """Write a folder whose structured layers have these shapes, and whose configuration these fields.

    By default all layers are structured, with 4 x 4 blocks of rank 4, as a configuration saved once says it.
    """
    shapes = every_layer((4, 4, 4), layers) if shapes is None else shapes
    prefix = "model." if head else ""
    tensors = {f"{prefix}{name}": t for name, t in _decoder(shapes, layers, bias, dtype).items()}
    if head and (not tied or "bin" in layout):
        embedding = tensors["model.embed_tokens.weight"]
        tensors["lm_head.weight"] = embedding if tied else _random((VOCABULARY, HIDDEN), 99, dtype)
    folder.mkdir(parents=True)
    values = _config(layers, dtype, tied, bias) | {
        "architectures": ["BlastModelForCausalLM" if head else "BlastLlamaModel"],
        **fields,
    }
    (folder / "config.json").write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    write_tensors(folder, tensors, layout)
    return Published(folder, tensors, shapes, prefix)


def write_tensors(folder: Path, tensors: Mapping[str, Tensor], layout: Layout) -> None:
    """Write weights; shards split the tensors in half, wherever that cuts a layer."""
    binary, sharded = "bin" in layout, "sharded" in layout
    stem, suffix = ("pytorch_model", "bin") if binary else ("model", "safetensors")
    names = list(tensors)
    parts = [names[: len(names) // 2], names[len(names) // 2 :]] if sharded else [names]
    weight_map = {}
    for number, part in enumerate(parts, start=1):
        count = f"-{number:05}-of-{len(parts):05}" if sharded else ""
        file = f"{stem}{count}.{suffix}"
        weight_map |= dict.fromkeys(part, file)
        content = {name: tensors[name] for name in part}
        if binary:
            torch.save(content, folder / file)
        else:
            save_file(content, folder / file, metadata={"format": "pt"})
    if sharded:
        size = sum(tensor.nbytes for tensor in tensors.values())
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (folder / f"{stem}.{suffix}.index.json").write_text(
            json.dumps(index, indent=2, sort_keys=True) + "\n"
        )


def write_factors(folder: Path, number: int, module: str, shape: Shape, seed: int = 0) -> tuple[Float64, ...]:
    """Write one layer as the factoriser does, D as (r, b1, b2); gives B, C and D in float64."""
    m, n = SIZES[module]
    b1, b2, r = shape
    b = _random((b1, m // b1, r), seed + 1, torch.float32)
    c = _random((b2, r, n // b2), seed + 2, torch.float32)
    d = _random((r, b1, b2), seed + 3, torch.float32)
    place = folder / str(number)
    place.mkdir(parents=True, exist_ok=True)
    # The factoriser's last step leaves D with a gradient.
    for name, tensor in {"B": b, "C": c, "D": d.requires_grad_()}.items():
        torch.save(tensor, place / f"{module}-{name}.tensor")
    return tuple(tensor.detach().double().numpy() for tensor in (b, c, d))


def write_dense(folder: Path, dtype: torch.dtype = torch.float32, bias: bool = False) -> nn.Module:
    """Write an ordinary Llama folder with its head, and give its decoder."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        attention_bias=bias,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = LlamaForCausalLM(config).eval()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
    model.to(dtype).save_pretrained(folder)
    decoder: nn.Module = model.model
    return decoder


def _decoder(shapes: Mapping[str, Shape], layers: int, bias: bool, dtype: torch.dtype) -> dict[str, Tensor]:
    tensors = {"embed_tokens.weight": _random((VOCABULARY, HIDDEN), 1, dtype)}
    for number in range(layers):
        for module in TARGETS:
            name = layer_name(number, module)
            tensors |= _linear(name, SIZES[module], shapes.get(name), bias, dtype, seed=10 * len(tensors))
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"layers.{number}.{norm}.weight"] = _random((HIDDEN,), len(tensors), dtype)
    return tensors | {"norm.weight": _random((HIDDEN,), 2, dtype)}


def _linear(
    name: str, size: tuple[int, int], shape: Shape | None, bias: bool, dtype: torch.dtype, seed: int
) -> dict[str, Tensor]:
    m, n = size
    if shape is None:
        tensors = {f"{name}.weight": _random((m, n), seed, dtype)}
    else:
        b1, b2, r = shape
        tensors = {
            f"{name}.B": _random((b1, m // b1, r), seed, dtype),
            f"{name}.C": _random((b2, r, n // b2), seed + 1, dtype),
            f"{name}.D": _random((b1, b2, r), seed + 2, dtype),
        }
    return tensors | ({f"{name}.bias": _random((m,), seed + 3, dtype)} if bias else {})


def _random(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.3, shape)).to(dtype)


def _config(layers: int, dtype: torch.dtype, tied: bool, bias: bool) -> dict[str, Any]:
    """As saved, with what only the model on the Hub has (``auto_map``, ``max_sequence_length``)."""
    return {
        "attention_bias": bias,
        "attention_dropout": 0.0,
        "auto_map": {
            "AutoConfig": "modeling_blast.BlastLlamaConfig",
            "AutoModelForCausalLM": "modeling_blast.BlastModelForCausalLM",
        },
        "blast_num_blocks": [4],
        "blast_rank": dict.fromkeys(TARGETS, 4),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "indices": list(range(layers)),
        "initializer_range": 0.02,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": 64,
        "max_sequence_length": 64,
        "mlp_bias": bias,
        "model_type": "blast_llama",
        "num_attention_heads": HEADS,
        "num_hidden_layers": layers,
        "num_key_value_heads": KEY_HEADS,
        "pad_token_id": 0,
        "precompute_matrix": True,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "target_modules": list(TARGETS),
        "tie_word_embeddings": tied,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "transformers_version": "4.44.2",
        "use_cache": True,
        "vocab_size": VOCABULARY,
    }
