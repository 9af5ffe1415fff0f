"""Structured layers of a torch module multiplied out."""

from __future__ import annotations

import torch
from torch import nn

from blast_deploy.structures.blast.module import BlastLinear


def multiply_out(module: nn.Module) -> nn.Module:
    """Replace every structured layer by an ``nn.Linear``, in place; a layer at two names stays one.

    Returns:
        ``module``, or its replacement if it is itself a structured layer.
    """
    if isinstance(module, BlastLinear):
        return dense_linear(module)
    made: dict[nn.Module, nn.Linear] = {}
    for name, layer in list(module.named_modules(remove_duplicate=False)):
        if isinstance(layer, BlastLinear):
            if layer not in made:
                made[layer] = dense_linear(layer)
            module.set_submodule(name, made[layer])
    return module


@torch.no_grad()
def dense_linear(layer: BlastLinear) -> nn.Linear:
    """Make the dense layer of the same function, its weight multiplied out in float64 and rounded once."""
    linear = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    weight = torch.from_numpy(layer.matrix().dense()).to(device=layer.U.device, dtype=layer.U.dtype)
    state = {"weight": weight} | ({} if layer.bias is None else {"bias": layer.bias.detach()})
    linear.load_state_dict(state, assign=True)
    return linear
