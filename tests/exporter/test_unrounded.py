"""A truth without rounding, however a module asks for narrower numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from blast_deploy.errors import InvalidInputError
from blast_deploy.exporter.call import make_call
from blast_deploy.exporter.truth import detached_copy, float64_outputs


def inferred(layer: nn.Linear, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return layer(x.to(torch.float16).to(torch.float32))


def automatic(layer: nn.Linear, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return layer(x).float()


def doubled(layer: nn.Linear, x: Tensor) -> Tensor:
    twice = {name: value * 2 for name, value in layer.named_parameters()}
    return torch.func.functional_call(layer, twice, (x,))


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    return functional.linear(x, layer.weight, layer.bias)


WIDE = torch.float64
CASES: dict[str, tuple[Callable[[nn.Linear, Tensor], Tensor], Callable[[nn.Linear, Tensor], Tensor]]] = {
    "inference mode": (inferred, lambda layer, x: linear(x, layer)),
    "autocast": (automatic, lambda layer, x: linear(x, layer)),
    "functional call": (doubled, lambda layer, x: 2 * linear(x, layer)),
    "cast parameter": (
        lambda layer, x: x @ layer.weight.t().half().float(),
        lambda layer, x: x @ layer.weight.t(),
    ),
    "cast by class": (
        lambda layer, x: layer(x.type(torch.HalfTensor).type(torch.float32)),
        lambda layer, x: linear(x, layer),
    ),
    "sum": (
        lambda layer, x: layer(x).sum(-1, dtype=torch.float32),
        lambda layer, x: linear(x, layer).sum(-1),
    ),
    "ones": (
        lambda layer, x: layer(x) @ torch.ones(4, 4),
        lambda layer, x: linear(x, layer) @ torch.ones(4, 4, dtype=WIDE),
    ),
    "full": (
        lambda layer, x: layer(x) * torch.full((4,), 0.1, dtype=torch.float16),
        lambda layer, x: linear(x, layer) * 0.1,
    ),
    "quotient of integers": (
        lambda layer, x: layer(x) * (torch.arange(1, 5) / 7),
        lambda layer, x: linear(x, layer) * (torch.arange(1, 5, dtype=WIDE) / 7),
    ),
}


class Computing(nn.Module):
    def __init__(self, function: Callable[[nn.Linear, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(4, 4), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer, x)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_rounded(name: str) -> None:
    torch.manual_seed(0)
    function, by_hand = CASES[name]
    module, x = Computing(function), torch.randn(3, 4)
    copied = detached_copy(module)
    (outputs,) = float64_outputs(copied, make_call(copied, x, ["x"]), [{"x": x.numpy()}], ["y"])
    with torch.no_grad():
        truth = by_hand(copy.deepcopy(module.layer).double(), x.double())
    torch.testing.assert_close(torch.from_numpy(outputs["y"]), truth, rtol=1e-12, atol=1e-12)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_module_that_writes_and_fails_leaves_the_callers_weights_and_torch_as_they_were(
    dtype: torch.dtype,
) -> None:
    class Failing(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            self.weight.data.zero_()
            raise ZeroDivisionError

    module, x = Failing(4, 4, dtype=dtype), torch.randn(3, 4, dtype=dtype)
    before = module.weight.detach().clone()
    copied = detached_copy(module)
    with pytest.raises(InvalidInputError, match="fails in float64 on sample 0"):
        float64_outputs(copied, make_call(copied, x, ["x"]), [{"x": x.numpy()}], ["y"])
    assert torch.equal(module.weight.detach(), before)
    assert module.weight.dtype == dtype
    assert torch.get_default_dtype() == torch.float32
