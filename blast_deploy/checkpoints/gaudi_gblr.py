"""Published Gaudi-GBLR layers: what the authors' code keeps of each, in the state dict of a whole model.

Source: github.com/changwoolee/Gaudi-GBLR, ``src/models/layers/gblr.py``. A layer has
``lr_weight1 (K, r, n)``, ``lr_weight2 (K, m, r)``, ``widths (2, K)`` and ``locations (2, K)``, whose row 0 is
that of the columns, perhaps ``bias (m)``, and buffers ``freq_in``, ``freq_out`` and ``sigma``. Sigma is
stored even by models that use no Gaussian, so whether there is one must be said beside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blast_deploy.checkpoints.tensor_files import StoredTensor, read_state
from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.gblr.gaudi import GaudiGblrLinear

_MARK = "lr_weight1"
_STORED = (_MARK, "lr_weight2", "widths", "locations", "freq_in", "freq_out", "sigma")
_PREFIX = "model."
"""What the authors' training puts before all names of the model itself."""
_SWITCH = "no_gaussian"


def load_gblr(
    module: nn.Module, state: str | Path | Mapping[str, Tensor], *, gaussian: bool | Mapping[str, Any]
) -> nn.Module:
    """Load a state dict of the authors' code into a model, in place.

    Every linear layer for which it holds a Gaudi-GBLR layer is replaced by a ``GaudiGblrLinear``, which can
    be trained on, frozen or exported; all other tensors are loaded by their names. Names may begin with
    ``model.``, as those of the authors' training do.

    Args:
        module: A model with the names of the authors' one and ``nn.Linear`` where that has Gaudi-GBLR layers.
        state: A file (safetensors, or torch with plain tensors alone), or tensors by name.
        gaussian: Whether the masks have a Gaussian, or the configuration of the training, in which every
            ``no_gaussian`` must say the same; it is False where the configuration does not name it.

    Returns:
        ``module``, in evaluation mode.

    Raises:
        InvalidInputError: If the file cannot be read, the state is incomplete, does not fit the model or
            holds what no training leaves, or the configuration contradicts itself; nothing is changed then.
    """
    blurred = gaussian if isinstance(gaussian, bool) else _gaussian_in(gaussian)
    stored = _read(state)
    own = module.state_dict()
    if not any(name in own for name in stored) and all(name.startswith(_PREFIX) for name in stored):
        stored = {name.removeprefix(_PREFIX): tensor for name, tensor in stored.items()}
    owners = [name.rpartition(".")[0] for name in stored if name.rpartition(".")[2] == _MARK]
    if not owners:
        raise InvalidInputError(
            f"the state holds no Gaudi-GBLR layer, which has a tensor {_MARK}; load it as it is"
        )
    made = {owner: _layer(owner, stored, module, blurred) for owner in owners}
    rest = _rest(stored, made, own)
    for owner, layer in made.items():
        module.set_submodule(owner, layer)
    module.load_state_dict(rest, strict=False)
    return module.eval()


def _gaussian_in(configuration: Mapping[str, Any]) -> bool:
    found = set(_switches(configuration))
    if len(found) > 1 or not all(isinstance(value, bool) for value in found):
        raise InvalidInputError(
            f"the configuration gives {_SWITCH} as {', '.join(map(str, sorted(found, key=str)))}; "
            "pass gaussian=True or gaussian=False"
        )
    return found != {True}


def _switches(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == _SWITCH:
                yield inner
            else:
                yield from _switches(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _switches(inner)


def _read(state: str | Path | Mapping[str, Tensor]) -> dict[str, StoredTensor]:
    if isinstance(state, Mapping):
        return {
            name: StoredTensor(name, tensor.detach().cpu(), Path("the state"))
            for name, tensor in state.items()
        }
    return read_state(Path(state))


def _layer(
    owner: str, stored: Mapping[str, StoredTensor], module: nn.Module, gaussian: bool
) -> GaudiGblrLinear:
    """Make a layer from its tensors, all of them checked."""
    linear = dict(module.named_modules()).get(owner)
    if type(linear) is not nn.Linear:
        raise InvalidInputError(
            f"the state has a Gaudi-GBLR layer {owner!r}, and the model has no linear layer of that name; "
            "give the model that it was trained in"
        )
    missing = [name for name in _STORED if f"{owner}.{name}" not in stored]
    if missing:
        raise InvalidInputError(f"the state lacks {owner}.{missing[0]}; save the whole state dict")
    tensors = {name: stored[f"{owner}.{name}"] for name in _STORED}
    shape = tensors[_MARK].shape
    count, rank = (*shape, 0, 0)[:2]
    m, n = linear.out_features, linear.in_features
    expected = {
        _MARK: (count, rank, n),
        "lr_weight2": (count, m, rank),
        "widths": (2, count),
        "locations": (2, count),
        "freq_in": (n // 2 + 1,),
        "freq_out": (m // 2 + 1,),
        "sigma": (),
    }
    bias = stored.get(f"{owner}.bias")
    if (bias is None) != (linear.bias is None):
        raise InvalidInputError(
            f"layer {owner!r} of the {'model' if bias is None else 'state'} has a bias and that of the "
            f"{'state' if bias is None else 'model'} has none; give the model that it was trained in"
        )
    if bias is not None:
        tensors["bias"], expected["bias"] = bias, (m,)
    for name, tensor in tensors.items():
        if tensor.shape != expected[name]:
            raise InvalidInputError(
                f"{owner}.{name} of the state is {tensor.shape} where a {m} x {n} layer of {count} "
                f"components of rank {rank} has {expected[name]}; give the model that it was trained in"
            )
        tensor.check_finite()
    _check_values(owner, tensors)
    return _filled(linear, count, rank, tensors, gaussian)


def _check_values(owner: str, tensors: Mapping[str, StoredTensor]) -> None:
    widths = tensors["widths"].values
    if widths.numel() and (float(widths.min()) < 0 or float(widths.max()) > 1):
        raise InvalidInputError(
            f"{owner}.widths must lie in 0 to 1, as every step of the training leaves them "
            f"(got {float(widths.min()):.3g} to {float(widths.max()):.3g}); clamp them"
        )
    if not float(tensors["sigma"].values) > 0:
        raise InvalidInputError(
            f"{owner}.sigma must be positive (got {float(tensors['sigma'].values):.3g}); mend the checkpoint"
        )


def _filled(
    linear: nn.Linear, count: int, rank: int, tensors: Mapping[str, StoredTensor], gaussian: bool
) -> GaudiGblrLinear:
    values = {name: tensor.values.clone() for name, tensor in tensors.items()}
    dtype = values[_MARK].dtype
    layer = GaudiGblrLinear(
        linear.in_features,
        linear.out_features,
        components=count,
        rank_per_component=max(rank, 1),
        bias=linear.bias is not None,
        device="meta",
        dtype=dtype,
    )
    columns, rows = 0, 1
    state = {
        "U": values["lr_weight2"],
        "V": values[_MARK],
        "u_width": values["widths"][rows].clone(),
        "u_location": values["locations"][rows].clone(),
        "v_width": values["widths"][columns].clone(),
        "v_location": values["locations"][columns].clone(),
        "sigma": values["sigma"] if gaussian else torch.full_like(values["sigma"], torch.inf),
    }
    if linear.bias is not None:
        state["bias"] = values["bias"]
    layer.load_state_dict({name: tensor.to(dtype) for name, tensor in state.items()}, assign=True)
    return layer.to(linear.weight.device)


def _rest(
    stored: Mapping[str, StoredTensor], made: Mapping[str, nn.Module], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What the state holds beside the layers, found to be just what the model needs."""
    held = {f"{owner}.{name}" for owner in made for name in (*_STORED, "bias")}
    replaced = {f"{owner}.{name}" for owner in made for name in ("weight", "bias")}
    rest = {name: tensor for name, tensor in stored.items() if name not in held}
    needed = {name: tensor for name, tensor in own.items() if name not in replaced}
    wrong = sorted(rest.keys() ^ needed.keys())
    if wrong:
        holds = "state" if wrong[0] in rest else "model"
        raise InvalidInputError(
            f"{wrong[0]} is in the {holds} alone; give the model that the state was trained in"
        )
    for name, tensor in rest.items():
        if tensor.shape != tuple(needed[name].shape):
            raise InvalidInputError(
                f"{name} is {tensor.shape} in the state and {tuple(needed[name].shape)} in the model; "
                "give the model that the state was trained in"
            )
        tensor.check_finite()
    return {name: tensor.values for name, tensor in rest.items()}
