from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from blast_deploy.compression.covariance import collect
from blast_deploy.errors import InvalidInputError


class Attending(nn.Module):
    """Two layers, one of them on the first token only, and one that nothing reaches."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.tokens = nn.Linear(width, 3)
        self.first = nn.Linear(3, 2)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.first(self.tokens(x)[:, 0])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layers(module: nn.Module, *names: str) -> dict[str, nn.Linear]:
    found = {name: module.get_submodule(name) for name in names}
    return {name: layer for name, layer in found.items() if isinstance(layer, nn.Linear)}


@pytest.mark.parametrize("width", [5, 384, 400, 1000])
def test_covariance_by_its_definition(width: int) -> None:
    module = Attending(width)
    batches = [{"x": random(4, 6, width, seed=seed)} for seed in range(3)]
    found = collect(module, layers(module, "tokens"), batches)["tokens"]
    rows = torch.cat([batch["x"].flatten(0, 1) for batch in batches]).double()
    torch.testing.assert_close(found.double(), rows.T @ rows / len(rows), rtol=1e-4, atol=1e-5)
    assert torch.equal(found, found.T)


def test_padding_is_left_out() -> None:
    module, x = Attending(), random(2, 4, 5)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    x[mask == 0] = 1e6
    found = collect(module, layers(module, "tokens"), [{"x": x, "attention_mask": mask}])["tokens"]
    rows = torch.cat([x[0, :3], x[1, :2]])
    torch.testing.assert_close(found, rows.T @ rows / 5)


def test_a_layer_whose_input_has_another_shape_than_the_mask_sees_all_rows() -> None:
    module, x = Attending(), random(2, 4, 5)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    found = collect(module, layers(module, "first"), [{"x": x, "attention_mask": mask}])["first"]
    rows = module.tokens(x)[:, 0].detach()
    torch.testing.assert_close(found, rows.T @ rows / 2)


def test_mode_and_hooks_are_as_before() -> None:
    module = Attending().train()
    collect(module, layers(module, "tokens"), [{"x": random(1, 2, 5)}])
    assert module.training
    assert not module.tokens._forward_pre_hooks


def test_low_precision_models_are_summed_in_float32() -> None:
    module = Attending().to(torch.bfloat16)
    x = torch.full((64, 64, 5), 3.0, dtype=torch.bfloat16)
    found = collect(module, layers(module, "tokens"), [{"x": x}] * 20)["tokens"]
    torch.testing.assert_close(found, torch.full((5, 5), 9.0))


def test_unreached_layer_is_named() -> None:
    module = Attending()
    with pytest.raises(InvalidInputError, match="never reach layer unused"):
        collect(module, layers(module, "tokens", "unused"), [{"x": random(1, 2, 5)}])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_name_the_layer(value: float) -> None:
    module = Attending()
    with pytest.raises(InvalidInputError, match="layer tokens hold NaN or infinity"):
        collect(module, layers(module, "tokens"), [{"x": torch.full((1, 2, 5), value)}])


@pytest.mark.parametrize("batch", [{"y": random(1, 2, 5)}, {"x": random(1, 2, 6)}, {}])
def test_inputs_that_the_model_does_not_take(batch: dict[str, Tensor]) -> None:
    module = Attending()
    with pytest.raises(InvalidInputError, match="the model cannot run on the calibration inputs"):
        collect(module, layers(module, "tokens"), [batch])
    assert not module.tokens._forward_pre_hooks
