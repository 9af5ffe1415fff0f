"""State dicts of the authors' Gaudi-GBLR code: each layer as they compute it, and the way to a verdict."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_gblr import GBLR_LAYERS, TinyViT, published_mask, published_state, published_weight
from safetensors.torch import save_file
from torch import Tensor, nn

import blast_deploy as bd
from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.gblr.gaudi import GaudiGblrLinear

State = dict[str, Tensor]


def dense_twin(state: State, *, gaussian: bool) -> TinyViT:
    """The same model with every layer multiplied out as the authors' formulas have it."""
    module = TinyViT()
    own = module.state_dict()
    values = {name: tensor for name, tensor in state.items() if name in own}
    for owner in GBLR_LAYERS:
        values[f"{owner}.weight"] = torch.tensor(published_weight(state, owner, gaussian=gaussian))
    module.load_state_dict(values)
    return module.eval()


def images() -> Tensor:
    return torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("gaussian", [True, False])
def test_layers_compute_what_the_authors_code_does(gaussian: bool, rank: int) -> None:
    state = published_state(rank=rank)
    module = bd.load_gblr(TinyViT(), state, gaussian=gaussian)
    assert not module.training
    for owner in GBLR_LAYERS:
        layer = module.get_submodule(owner)
        assert isinstance(layer, GaudiGblrLinear)
        weight = published_weight(state, owner, gaussian=gaussian)
        found = layer(torch.eye(layer.in_features)) - layer.bias
        np.testing.assert_allclose(found.detach().numpy().T, weight, atol=1e-5)
        np.testing.assert_allclose(layer.matrix().dense(), weight, atol=1e-5)
        live = layer.matrix().components
        assert live <= (layer.components - 3) * rank, "those of width 0, and that of one entry, are dead"
    expected = dense_twin(state, gaussian=gaussian)(images())
    torch.testing.assert_close(module(images()), expected, rtol=1e-4, atol=1e-4)


def test_the_gaussian_matters() -> None:
    masks = [published_mask(np.array([0.3]), np.array([0.1]), 24, sigma) for sigma in (np.inf, 100.0)]
    assert np.abs(masks[0] - masks[1]).max() > 1e-3


@pytest.mark.parametrize("gaussian", [True, False])
@pytest.mark.parametrize("form", ["safetensors", "torch", "lightning names"])
def test_files_the_whole_way(gaussian: bool, form: str, tmp_path: Path) -> None:
    state = published_state()
    expected = dense_twin(state, gaussian=gaussian)(images()).detach().numpy()
    if form == "lightning names":
        state = {f"model.{name}": tensor for name, tensor in state.items()}
    path = tmp_path / ("model.safetensors" if form == "safetensors" else "model.pt")
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    module = bd.load_gblr(TinyViT(), path, gaussian=gaussian)
    result = bd.export(module, images(), tmp_path / "vit.onnx", dynamic_axes={"x": {0: "batch"}})
    assert set(result.structured_layers) == set(GBLR_LAYERS)
    bd.compile(tmp_path / "vit.onnx", "cpu-stock", tmp_path / "artifact")
    with bd.open(tmp_path / "artifact") as runner:
        (found,) = runner.run({"x": images().numpy()}).values()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    verdict = bd.verify(tmp_path / "artifact", layers=True)
    assert (verdict.verdict, verdict.reasons) == ("passed", ())


@pytest.mark.parametrize(
    ("configuration", "gaussian"),
    [
        ({"model": {"mlp_cfg": {"linear1_cfg": {"no_gaussian": True}}}}, False),
        ({"model": {"mlp_cfg": {"no_gaussian": False}, "layers": [{"no_gaussian": False}]}}, True),
        ({"model": {"sigma": 100.0}}, True),
    ],
)
def test_the_configuration_says_whether(configuration: dict[str, Any], gaussian: bool) -> None:
    module = bd.load_gblr(TinyViT(), published_state(), gaussian=configuration)
    layer = module.get_submodule(GBLR_LAYERS[0])
    assert isinstance(layer, GaudiGblrLinear)
    assert float(layer.sigma) == (100.0 if gaussian else np.inf)


@pytest.mark.parametrize(
    "configuration", [{"a": {"no_gaussian": True}, "b": {"no_gaussian": False}}, {"no_gaussian": "yes"}]
)
def test_a_configuration_that_contradicts_itself_is_refused(configuration: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="pass gaussian=True or gaussian=False"):
        bd.load_gblr(TinyViT(), published_state(), gaussian=configuration)


def drop(name: str) -> Callable[[State], object]:
    return lambda state: state.pop(name)


def put(name: str, value: Tensor) -> Callable[[State], object]:
    return lambda state: state.update({name: value})


Q = "blocks.0.attn.q_proj"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop(f"{Q}.freq_in"), f"lacks {Q}.freq_in"),
        (drop(f"{Q}.bias"), "layer .* of the model has a bias and that of the state has none"),
        (drop("blocks.0.attn.proj.bias"), "blocks.0.attn.proj.bias is in the model alone"),
        (put("extra", torch.zeros(1)), "extra is in the state alone"),
        (put("head.bias", torch.zeros(4)), r"head.bias is \(4,\) in the state and \(5,\) in the model"),
        (put(f"{Q}.widths", torch.full((2, 24), 1.01)), r"widths must lie in 0 to 1"),
        (put(f"{Q}.widths", torch.zeros(24, 2)), r"widths of the state is \(24, 2\) where .* has \(2, 24\)"),
        (put(f"{Q}.lr_weight1", torch.zeros(24, 24)), "lr_weight1 of the state is"),
        (put(f"{Q}.locations", torch.full((2, 24), torch.nan)), "holds NaN"),
        (put(f"{Q}.sigma", torch.tensor(0.0)), "sigma must be positive"),
        (put(f"{Q}.freq_out", torch.zeros(9)), r"freq_out of the state is \(9,\)"),
        (put("blocks.0.norm1.lr_weight1", torch.zeros(1, 1, 1)), "no linear layer of that name"),
        (
            lambda state: [state.pop(f"{owner}.lr_weight1") for owner in GBLR_LAYERS],
            "holds no Gaudi-GBLR layer",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    spoil: Callable[[State], object], message: str
) -> None:
    state, module = published_state(), TinyViT()
    before = copy.deepcopy(module.state_dict())
    spoil(state)
    with pytest.raises(InvalidInputError, match=message):
        bd.load_gblr(module, state, gaussian=False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert type(module.get_submodule(Q)) is nn.Linear


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is no file"):
        bd.load_gblr(TinyViT(), tmp_path / "missing.pt", gaussian=False)


def test_a_pickle_of_more_than_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": published_state(), "hyper_parameters": nn.Linear(2, 2)}, tmp_path / "last.ckpt")
    with pytest.raises(InvalidInputError, match="pickle of more than plain tensors"):
        bd.load_gblr(TinyViT(), tmp_path / "last.ckpt", gaussian=False)
