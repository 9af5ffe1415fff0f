"""Published BLAST models: Hugging Face folders of model type ``blast_llama``.

A structured layer has ``B (b1, p, r)``, ``C (b2, r, q)`` and ``D (b1, b2, r)`` instead of ``weight``, and
block (i, j) of its weight is ``B_i diag(D_ij) C_j`` (github.com/changwoolee/BLAST,
``models/modeling_blast.py``). They are our U, V and S as they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from blast_deploy.checkpoints.blast_llama_config import BlastLlamaConfig, parse
from blast_deploy.checkpoints.tensor_files import StoredTensor, read_folder
from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.module import BlastLinear

if TYPE_CHECKING:
    from transformers import LlamaModel

_FACTORS = {"U": "B", "S": "D", "V": "C"}
_PREFIX, _HEAD = "model.", "lm_head.weight"


def load(values: Mapping[str, object], file: Path) -> nn.Module:
    """Load the plain decoder of a published folder, with its factors bit for bit.

    Args:
        values: The folder's configuration.
        file: Where it lies in the folder.

    Returns:
        A ``LlamaModel`` whose structured layers are ``BlastLinear``, at the dtype it is stored in.

    Raises:
        InvalidInputError: If the configuration is not understood, or the weights are damaged, do not fit it,
            hold NaN or are of several dtypes.
    """
    config = parse(values, file)
    stored = read_folder(file.parent)
    if config.layers > len(stored):
        raise InvalidInputError(
            f"{file} asks for {config.layers} decoder layers and the weights are {len(stored)} tensors; "
            "copy the folder again"
        )
    module = _decoder(config, _common_dtype(stored))
    # A decoder that was saved without its head has no prefix either.
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in stored) else ""
    names = {name: prefix + _published_name(name, module) for name in module.state_dict()}
    expected = {names[name]: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    if prefix and (not config.tied or _HEAD in stored):
        expected[_HEAD] = (module.config.vocab_size, module.config.hidden_size)
    _check(stored, expected, config)
    # Copied, because the mapped file may change and is not aligned as torch's fast kernels like it.
    module.load_state_dict({own: stored[name].values.clone() for own, name in names.items()}, assign=True)
    module.rotary_emb = type(module.rotary_emb)(config=module.config)
    return module


def _decoder(config: BlastLlamaConfig, dtype: torch.dtype) -> LlamaModel:
    """Make the decoder with its structured layers on torch's meta device, where it takes no memory."""
    try:
        return _empty_decoder(config, dtype)
    except InvalidInputError:
        raise
    except Exception as error:  # transformers and torch check values in many places, with errors of their own
        reason = " ".join(str(error).split()).rstrip(".")
        raise InvalidInputError(
            f"{config.file} describes no Llama model ({reason}); copy the folder again"
        ) from error


def _empty_decoder(config: BlastLlamaConfig, dtype: torch.dtype) -> LlamaModel:
    from transformers import LlamaConfig, LlamaModel

    llama = LlamaConfig.from_dict({**config.llama, "dtype": str(dtype).removeprefix("torch.")})
    with torch.device("meta"):
        module = LlamaModel(llama)
    linears = {name: child for name, child in module.layers.named_modules() if type(child) is nn.Linear}
    for name, linear in linears.items():
        shape = config.shape(name, linear.out_features, linear.in_features)
        if shape is None:
            continue
        structured = BlastLinear(
            linear.in_features,
            linear.out_features,
            blocks=shape.blocks,
            rank=shape.rank,
            bias=linear.bias is not None,
            device="meta",
        )
        module.layers.set_submodule(name, structured)
    return module


def _published_name(name: str, module: nn.Module) -> str:
    owner, _, last = name.rpartition(".")
    structured = isinstance(module.get_submodule(owner), BlastLinear)
    return f"{owner}.{_FACTORS[last]}" if structured and last in _FACTORS else name


def _common_dtype(stored: Mapping[str, StoredTensor]) -> torch.dtype:
    first, *others = stored.values()
    for other in others:
        if other.values.dtype != first.values.dtype:
            raise InvalidInputError(
                f"{first.name} in {first.file} has {first.values.dtype} and {other.name} in {other.file} has "
                f"{other.values.dtype}; save the model at one dtype"
            )
    return first.values.dtype


def _check(
    stored: Mapping[str, StoredTensor], expected: Mapping[str, tuple[int, ...]], config: BlastLlamaConfig
) -> None:
    """Refuse weights that are not exactly what the configuration asks for, before any value is read."""
    missing, strange = sorted(expected.keys() - stored.keys()), sorted(stored.keys() - expected.keys())
    if missing or strange:
        lacks = f"lack {missing[0]}" if missing else ""
        holds = f"hold {strange[0]}" if strange else ""
        raise InvalidInputError(
            f"the weights in {config.file.parent} {' and '.join(filter(None, (lacks, holds)))}, unlike what "
            f"{config.file.name} says; copy the folder again, or mend target_modules and indices"
        )
    for name, shape in expected.items():
        if stored[name].shape != shape:
            raise InvalidInputError(
                f"{name} in {stored[name].file} is {stored[name].shape} where {config.file.name} asks for "
                f"{shape}; copy the folder again, or mend blast_rank and blast_num_blocks"
            )
    for tensor in stored.values():
        tensor.check_finite()
