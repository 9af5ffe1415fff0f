"""Layers that learn their structure, made into layers of a fixed one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from blast_deploy.structures.gblr.gaudi import GaudiGblrLinear


def freeze_structures(module: nn.Module) -> nn.Module:
    """Replace every ``GaudiGblrLinear`` by the ``GblrLinear`` that computes the same, in place.

    Args:
        module: In evaluation mode.

    Returns:
        ``module``, or its replacement if it is itself such a layer.
    """
    return replace_layers(module, (GaudiGblrLinear,), GaudiGblrLinear.frozen)


def replace_layers(
    module: nn.Module, kinds: tuple[type[nn.Module], ...], make: Callable[[Any], nn.Module]
) -> nn.Module:
    """Replace every layer of some kinds, in place; a layer at two names stays one.

    Returns:
        ``module``, or its replacement if it is itself of such a kind.
    """
    if isinstance(module, kinds):
        return make(module)
    made: dict[nn.Module, nn.Module] = {}
    for name, layer in list(module.named_modules(remove_duplicate=False)):
        if isinstance(layer, kinds):
            if layer not in made:
                made[layer] = make(layer)
            module.set_submodule(name, made[layer])
    return module
