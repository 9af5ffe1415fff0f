"""Structured layers of a torch module multiplied out."""

from __future__ import annotations

import torch
from torch import nn

from blast_deploy.structures.blast.module import BlastLinear, replace_layers
from blast_deploy.structures.gblr.module import GblrLinear


def multiply_out(module: nn.Module) -> nn.Module:
    """Replace every structured layer by an ``nn.Linear``, in place; a layer at two names stays one.

    Args:
        module: Its structures are frozen; see ``GaudiGblrLinear``.

    Returns:
        ``module``, or its replacement if it is itself a structured layer.
    """
    return replace_layers(module, (BlastLinear, GblrLinear), dense_linear)


@torch.no_grad()
def dense_linear(layer: BlastLinear | GblrLinear) -> nn.Linear:
    """Make the dense layer of the same function, its weight multiplied out in float64 and rounded once."""
    linear = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    factor = layer.U if isinstance(layer, BlastLinear) else layer.u
    weight = torch.from_numpy(layer.matrix().dense()).to(device=factor.device, dtype=factor.dtype)
    state = {"weight": weight} | ({} if layer.bias is None else {"bias": layer.bias.detach()})
    linear.load_state_dict(state, assign=True)
    return linear
