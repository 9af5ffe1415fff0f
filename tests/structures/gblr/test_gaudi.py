"""GaudiGblrLinear: it trains, its gradients are right, and freezing changes nothing that evaluation gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gblr_models import learned_intervals
from torch import nn

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.gblr.gaudi import GaudiGblrLinear, SigmaAnnealing

SIGMAS = [math.inf, 100.0, 4.0]


def random_layer(
    in_features: int = 24,
    out_features: int = 17,
    *,
    rank: int = 1,
    sigma: float = math.inf,
    bias: bool = True,
    dtype: torch.dtype = torch.float32,
) -> GaudiGblrLinear:
    """Any widths and locations, a dead and a full component among them."""
    torch.manual_seed(0)
    layer = GaudiGblrLinear(
        in_features, out_features, components=7, rank_per_component=rank, sigma=sigma, bias=bias, dtype=dtype
    )
    with torch.no_grad():
        for widths in (layer.u_width, layer.v_width):
            widths.uniform_(0.2, 1)
        layer.u_width[0], layer.v_width[1], layer.v_width[2] = 0.0, 1.2 / in_features, 1.0
        if layer.bias is not None:
            layer.bias.normal_()
    return layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("bias", [True, False])
def test_frozen_is_evaluation(sigma: float, rank: int, bias: bool, dtype: torch.dtype) -> None:
    layer = random_layer(rank=rank, sigma=sigma, bias=bias, dtype=dtype).eval()
    x = torch.randn(5, 24, dtype=dtype)
    frozen = layer.frozen()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(frozen(x), layer(x), rtol=tolerance, atol=tolerance)
    assert frozen.components == 5 * rank  # two are dead
    assert not frozen.training


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("name", ["query_50", "output_50"])
def test_learned_intervals_freeze(name: str, sigma: float) -> None:
    found = learned_intervals(name)
    in_features = 384 if name.startswith("query") else 1536
    layer = GaudiGblrLinear(in_features, 384, sigma=sigma, bias=False).eval()
    with torch.no_grad():
        for side, size in (("u", 384), ("v", in_features)):
            getattr(layer, f"{side}_width").copy_(torch.tensor(found[f"{side}_width"] / size))
            getattr(layer, f"{side}_location").copy_(torch.tensor(found[f"{side}_start"] / size))
    live = (found["u_width"] >= 2) & (found["v_width"] >= 2)
    matrix = layer.matrix()
    assert matrix.components == live.sum()
    x = torch.randn(3, in_features)
    y = layer(x).detach().numpy()
    assert np.abs(matrix.apply(x.numpy()) - y).max() < 1e-5 * np.abs(y).max()
    if math.isinf(sigma):
        np.testing.assert_array_equal(matrix.u.starts, found["u_start"][live])
        np.testing.assert_array_equal(matrix.v.widths, found["v_width"][live])


def test_everything_dead_is_the_bias() -> None:
    layer = random_layer().eval()
    nn.init.zeros_(layer.v_width)
    frozen = layer.frozen()
    assert frozen.components == 0
    assert layer.bias is not None
    torch.testing.assert_close(frozen(torch.ones(2, 24)), layer.bias.expand(2, 17))
    torch.testing.assert_close(layer(torch.ones(2, 24)), layer.bias.expand(2, 17))


def test_narrow_parameters_freeze() -> None:
    layer = random_layer(sigma=4.0).to(torch.bfloat16).eval()
    frozen = layer.frozen()
    assert frozen.u.dtype == torch.bfloat16
    assert frozen.u_start.dtype == torch.int64
    x = torch.randn(5, 24, dtype=torch.bfloat16)
    torch.testing.assert_close(frozen(x), layer(x), rtol=0.1, atol=0.2)


@pytest.mark.parametrize("rows", [1, 3])
def test_gradients_reach_widths_and_locations(rows: int) -> None:
    """The rows decide whether the factors or the weight are multiplied; rounding is left out of the check."""
    layer = random_layer(4, 3, rank=2, sigma=2.0, dtype=torch.float64)
    x = torch.randn(rows, 4, dtype=torch.float64, requires_grad=True)
    names = ("U", "V", "u_width", "u_location", "v_width", "v_location")

    def smooth(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        own = dict(zip(names, values, strict=True))
        rounded = "blast_deploy.structures.gblr.gaudi.round_straight_through"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rounded, lambda fractions, size: fractions)
            result: torch.Tensor = torch.func.functional_call(layer, own, (x,))
        return result

    given = [x, *(getattr(layer, name).detach().clone().requires_grad_() for name in names)]
    assert torch.autograd.gradcheck(smooth, given)


def test_training_and_evaluation_agree_where_nothing_is_cut() -> None:
    layer = random_layer()
    with torch.no_grad():
        layer.u_width.fill_(0.5), layer.v_width.fill_(0.5)
    x = torch.randn(5, 24)
    trained = layer(x)
    torch.testing.assert_close(layer.eval()(x), trained, rtol=1e-5, atol=1e-5)


def test_fresh_layers_keep_the_scale() -> None:
    torch.manual_seed(0)
    scales = [
        GaudiGblrLinear(200, 300, width=width, rank_per_component=rank)(torch.randn(50, 200)).detach().std()
        for width, rank in ((1.0, 1), (0.3, 1), (0.5, 4))
    ]
    np.testing.assert_allclose(scales, 1, atol=0.15)


def test_it_learns_a_structure_from_nothing() -> None:
    """A block-diagonal target: the error falls far below what the widths and locations of the start allow."""
    torch.manual_seed(0)
    target = torch.block_diag(*(torch.randn(8, 2) @ torch.randn(2, 8) for _ in range(2)))
    layer = GaudiGblrLinear(16, 16, components=4, width=0.6, sigma=2.0, bias=False)
    structure = [layer.u_width, layer.u_location, layer.v_width, layer.v_location]
    groups = [{"params": [layer.U, layer.V], "lr": 0.03}, {"params": structure, "lr": 0.005}]
    optimizer = torch.optim.Adam(groups)
    annealing = SigmaAnnealing(layer, 600, 2.0, 60.0)
    for _ in range(800):
        optimizer.zero_grad()
        loss = (layer(torch.eye(16)).t() - target).square().sum() / target.square().sum()
        loss.backward()
        optimizer.step()
        annealing.step()
    assert float(layer.sigma) == 60
    assert loss < 0.05
    frozen = layer.eval().frozen()
    error = (frozen(torch.eye(16)).t() - target).square().sum() / target.square().sum()
    assert error < 0.07


def test_state_dict_keeps_sigma() -> None:
    layer, other = random_layer(sigma=4.0).eval(), random_layer().eval()
    other.load_state_dict(layer.state_dict())
    x = torch.randn(2, 24)
    torch.testing.assert_close(other(x), layer(x))
    assert "sigma=4.0" in repr(other)


@pytest.mark.parametrize(
    "wrong", [{"in_features": 0}, {"components": -1}, {"width": 0.0}, {"width": 1.5}, {"sigma": 0.0}]
)
def test_bad_sizes_are_refused(wrong: dict[str, float]) -> None:
    given = {"in_features": 4, "out_features": 3, **wrong}
    with pytest.raises(InvalidInputError, match="must be"):
        GaudiGblrLinear(**given)  # type: ignore[arg-type]


def test_another_width_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="must be 24"):
        random_layer()(torch.ones(2, 23))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"first": 0.0}, {"last": math.inf}])
def test_bad_annealing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="steps must be positive"):
        SigmaAnnealing(random_layer(), **{"steps": 5, **wrong})  # type: ignore[arg-type]
