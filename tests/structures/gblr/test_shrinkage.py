"""Widths shrink by exactly the proximal step, towards a target that the model then meets."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import blast_deploy as bd
from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.gblr.gaudi import GaudiGblrLinear
from blast_deploy.structures.gblr.shrinkage import (
    Flops,
    MeanWidth,
    WidthShrinkage,
    model_flops,
    parameter_groups,
)


def two_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(GaudiGblrLinear(20, 10, width=0.8), nn.Tanh(), GaudiGblrLinear(10, 20, width=0.5))


def sgd(model: nn.Module, width_rate: float = 0.1) -> torch.optim.Optimizer:
    groups = parameter_groups(model, learning_rate=0.5, width_rate=width_rate, location_rate=0.01)
    return torch.optim.SGD(groups)


def test_groups_hold_every_parameter_once() -> None:
    model = nn.Sequential(two_layers(), nn.Linear(20, 3))
    groups = parameter_groups(model, learning_rate=0.5, width_rate=0.1, location_rate=0.01, weight_decay=0.2)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.5, 0.2), (0.1, 0.0), (0.01, 0.0)]
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(map(id, model.parameters()))
    assert [len(group["params"]) for group in groups[1:]] == [4, 4]
    plain = parameter_groups(nn.Linear(2, 2), learning_rate=1, width_rate=1, location_rate=1)
    assert len(plain) == 1


def test_a_step_by_hand() -> None:
    model = two_layers()
    with torch.no_grad():
        model[0].u_width[:3] = torch.tensor([0.02, 1.5, 0.0])
        model[0].v_location[:3] = torch.tensor([1.25, -0.25, 0.5])
    shrinkage = WidthShrinkage(model, sgd(model), strength=0.5)
    assert shrinkage.step()
    torch.testing.assert_close(model[0].u_width[:4].detach(), torch.tensor([0.0, 1.0, 0.0, 0.75]))
    torch.testing.assert_close(model[0].v_location[:3].detach(), torch.tensor([0.25, 0.75, 0.5]))
    torch.testing.assert_close(model[2].v_width.detach(), torch.full((10,), 0.45))


def test_a_rate_that_changes_is_followed() -> None:
    model = two_layers()
    optimizer = sgd(model)
    shrinkage = WidthShrinkage(model, optimizer, strength=1.0)
    optimizer.param_groups[1]["lr"] = 0.2
    shrinkage.step()
    torch.testing.assert_close(model[2].u_width.detach(), torch.full((10,), 0.3))


def test_a_budget_can_fall_little_by_little() -> None:
    model = two_layers()
    shrinkage = WidthShrinkage(model, sgd(model), strength=0.1, target=MeanWidth(0.9))
    assert not shrinkage.step()
    for limit in (0.6, 0.5, 0.4):
        shrinkage.retarget(MeanWidth(limit))
        assert shrinkage.step()
        shrinkage.meet_target()
        assert MeanWidth(1).measure(model) == pytest.approx(limit, abs=0.01)
    shrinkage.retarget(None)
    assert shrinkage.step()
    with pytest.raises(InvalidInputError, match="no target to meet"):
        shrinkage.meet_target()


def test_operations_are_counted_as_evaluation_has_them() -> None:
    layer = GaudiGblrLinear(20, 10, components=4, rank_per_component=2, width=0.5)
    with torch.no_grad():
        layer.u_width[:2] = torch.tensor([0.1, 0.34])  # one entry is dead; 3.4 entries are 3
    expected = 2 * 2 * ((3 + 10) + 2 * (5 + 10))
    assert model_flops(layer) == expected
    assert model_flops(layer.eval().frozen()) == expected
    blast = bd.BlastLinear(20, 10, blocks=(2, 4), rank=3)
    assert model_flops(nn.Sequential(layer, blast, nn.Linear(10, 7))) == expected + 6 * 38 + 140
    shared = nn.Linear(4, 4)
    assert model_flops(nn.Sequential(shared, shared)) == 32


def test_mean_width_counts_the_dead_as_nothing() -> None:
    model = two_layers()
    with torch.no_grad():
        model[0].u_width[0] = 0.0
    assert MeanWidth(0.5).measure(model) == pytest.approx((0.8 * 9 / 10 + 0.5) / 2)


@pytest.mark.parametrize("target", [MeanWidth(0.3), Flops(500)])
def test_it_stops_at_the_target(target: MeanWidth | Flops) -> None:
    model = two_layers()
    shrinkage = WidthShrinkage(model, sgd(model), strength=0.2, target=target)
    steps = sum(shrinkage.step() for _ in range(200))
    assert 3 < steps < 60
    assert target.measure(model) <= target.limit
    before = [parameter.clone() for parameter in model.parameters()]
    assert not shrinkage.step()
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_operations_weigh_the_longer_side_more() -> None:
    model = two_layers()
    WidthShrinkage(model, sgd(model), strength=0.5, target=Flops(0)).step()
    torch.testing.assert_close(model[0].u_width.detach(), torch.full((10,), 0.8 - 0.05 * 20 / 30))
    torch.testing.assert_close(model[0].v_width.detach(), torch.full((10,), 0.8 - 0.05 * 40 / 30))


@pytest.mark.parametrize("target", [MeanWidth(0.37), Flops(333), Flops(0), MeanWidth(0.0)])
def test_a_target_is_met_at_once_and_barely(target: MeanWidth | Flops) -> None:
    model = two_layers()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.u_width.uniform_()
            layer.v_width.uniform_()
    start = target.measure(model)
    shrinkage = WidthShrinkage(model, sgd(model), strength=0.5, target=target)
    shrinkage.meet_target()
    found = target.measure(model)
    assert found <= target.limit
    assert found >= target.limit - 0.1 * start
    shrinkage.meet_target()
    assert target.measure(model) == found


def test_a_target_below_the_rest_of_the_model_changes_nothing() -> None:
    model = nn.Sequential(two_layers(), nn.Linear(20, 20))
    before = [parameter.clone() for parameter in model.parameters()]
    shrinkage = WidthShrinkage(model, sgd(model), strength=0.5, target=Flops(799))
    with pytest.raises(InvalidInputError, match="below what the model takes"):
        shrinkage.meet_target()
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_training_finds_where_the_target_is_worth_most() -> None:
    """Two layers learn targets of rank 1 and of full rank: the budget goes to the second."""
    torch.manual_seed(0)
    easy, hard = torch.randn(16, 1) @ torch.randn(1, 16) / 4, torch.randn(16, 16)
    layers = nn.ModuleList(GaudiGblrLinear(16, 16, bias=False) for _ in range(2))
    groups = parameter_groups(layers, learning_rate=0.02, width_rate=0.01, location_rate=0.002)
    optimizer = torch.optim.Adam(groups)
    shrinkage = WidthShrinkage(layers, optimizer, strength=0.5, target=Flops(1000))
    for _ in range(400):
        optimizer.zero_grad()
        errors = [
            (layer(torch.eye(16)).t() - target).square().sum()
            for layer, target in zip(layers, (easy, hard), strict=True)
        ]
        sum(errors).backward()
        optimizer.step()
        shrinkage.step()
    shrinkage.meet_target()
    first, second = (model_flops(layer) for layer in layers)
    assert first + second <= 1000
    assert first < 0.7 * second


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: WidthShrinkage(nn.Linear(2, 2), sgd(nn.Linear(2, 2)), strength=1),
            "must hold a GaudiGblrLinear",
        ),
        (lambda: WidthShrinkage(two_layers(), sgd(two_layers()), strength=1), "does not step u_width"),
        (lambda: WidthShrinkage(m := two_layers(), sgd(m), strength=-1), "must not be negative"),
        (lambda: WidthShrinkage(m := two_layers(), sgd(m), strength=1).meet_target(), "no target to meet"),
        (lambda: MeanWidth(1.5), "must be in 0 to 1"),
    ],
)
def test_what_makes_no_shrinkage_is_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(InvalidInputError, match=message):
        make()
