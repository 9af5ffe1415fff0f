"""Float64 one parameter at a time gives what promoting the whole module gives, and leaves no trace."""

from __future__ import annotations

import copy
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from blast_deploy.exporter.call import make_call
from blast_deploy.exporter.truth import detached_copy, float64_outputs
from blast_deploy.exporter.widening import widened
from blast_deploy.structures.blast.module import BlastLinear


class Tied(nn.Module):
    """Token embedding whose weight, borrowed, is the output layer too."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.inner = nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.inner(self.embedding((x[..., 0].abs() * 3).long() % 11))
        return self.head(hidden) + functional.linear(hidden, self.embedding.weight)


class Borrowing(nn.Module):
    """A parameter of its own beside children, a child never called, and one called without hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(6))
        self.child, self.other = nn.Linear(6, 6), nn.Linear(6, 6)
        self.several = nn.ParameterList([torch.randn(6), torch.randn(6)])
        self.listed = [self.child.weight]

    def forward(self, x: Tensor) -> Tensor:
        x = functional.linear(x, self.child.weight, self.other.bias) * self.scale
        x = self.child.forward(x) + sum(self.several)
        norms = torch.stack([parameter.norm() for parameter in self.parameters()])
        return (x @ self.listed[0]) / norms.sum()


class ByType(nn.Module):
    """Computes something else where a parameter is not float64 when it looks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        types = {self.layer.weight.dtype, next(self.parameters()).dtype, self.layer.bias.dtype}
        return self.layer(x) if types == {torch.float64} else torch.zeros_like(x)


class Giver(nn.Module):
    """Returns its parameter itself."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6))

    def forward(self) -> Tensor:
        return self.weight


class Taking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.giver = Giver()

    def forward(self, x: Tensor) -> Tensor:
        weight = self.giver()
        return x @ weight if weight.dtype == torch.float64 else torch.zeros_like(x)


class Hidden(nn.Module):
    """Reads a parameter that no attribute leads to."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.Linear(6, 6)
        self.layer, self.calls = layer, 0
        weight = layer.weight
        self.product = lambda x: functional.linear(x, weight)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.product(x) * self.calls

    def __deepcopy__(self, memo: Any) -> Hidden:
        made = Hidden()
        made.layer.load_state_dict(self.layer.state_dict())
        return made


class Counting(nn.Module):
    """Writes to buffers, floating and whole, for its next call."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.register_buffer("seen", torch.full((6,), 0.1))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.add_(x.flatten(0, -2).mean(0))
        return self.layer(x) * self.calls + self.seen


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


def parametrised(wrap: Any) -> nn.Module:
    return nn.Sequential(wrap(nn.Linear(6, 6)), nn.Tanh(), wrap(nn.Linear(6, 6)))


MODULES = {
    "blast": lambda: nn.Sequential(BlastLinear(6, 9, blocks=(2, 3), rank=4), nn.GELU(), nn.Linear(9, 5)),
    "batch norm": lambda: nn.Sequential(nn.Linear(6, 6), nn.Flatten(0, 1), nn.BatchNorm1d(6)),
    "attention": lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True),
    "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 2),
    "half": lambda: nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6).half()),
    "spectral": lambda: parametrised(nn.utils.parametrizations.spectral_norm),
    "weight norm": lambda: parametrised(nn.utils.parametrizations.weight_norm),
    "identity": lambda: parametrised(
        lambda layer: nn.utils.parametrize.register_parametrization(layer, "weight", nn.Identity())
    ),
    "recurrent": Recurrent,
    "tied": Tied,
    "borrowing": Borrowing,
    "by type": ByType,
    "taking": Taking,
    "hidden": Hidden,
    "counting": Counting,
}


@pytest.mark.parametrize("name", MODULES)
def test_outputs_are_those_of_the_whole_module_promoted(name: str) -> None:
    torch.manual_seed(0)
    module = MODULES[name]().eval()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    samples = [torch.randn(2, 3, 6), torch.randn(2, 3, 6)]
    copied = detached_copy(module)
    call = make_call(copied, samples[0], ["x"])
    found = float64_outputs(copied, call, [{"x": sample.numpy()} for sample in samples], ["y"])
    whole = copy.deepcopy(module).double()
    with torch.no_grad():
        expected = [whole(sample.double()) for sample in samples]
    for outputs, truth in zip(found, expected, strict=True):
        assert torch.equal(torch.from_numpy(outputs["y"]), truth)
    assert module.state_dict().keys() == state.keys()
    for key, value in module.state_dict().items():
        assert value.dtype == state[key].dtype
        assert torch.equal(value, state[key])


def test_only_the_parameters_in_use_are_wide() -> None:
    wide: list[weakref.ref[Tensor]] = []
    most = 0

    class Watching(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            nonlocal most
            weight = self.weight.data
            assert weight.dtype == torch.float64
            wide.append(weakref.ref(weight.untyped_storage()))
            del weight
            most = max(most, sum(each() is not None for each in wide))
            return super().forward(x)

    module = nn.Sequential(*(Watching(4, 4) for _ in range(5)))
    with torch.no_grad(), widened(module):
        module(torch.randn(2, 4, dtype=torch.float64))
    assert len(wide) == 5
    assert most <= 1


def test_everything_is_put_back_even_after_an_error() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    memory = [parameter.data_ptr() for parameter in module.parameters()]
    with pytest.raises(RuntimeError), widened(module):
        module(torch.randn(2, 3, dtype=torch.float64))
    assert [parameter.data_ptr() for parameter in module.parameters()] == memory
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())
    assert all("forward" not in vars(each) and type(each._parameters) is dict for each in module.modules())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_module_that_writes_to_its_parameters_does_not_reach_the_callers(dtype: torch.dtype) -> None:
    class Clamping(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            self.weight.data.clamp_(-0.1, 0.1)
            return super().forward(x)

    module = Clamping(4, 4, dtype=dtype)
    before = module.weight.detach().clone()
    copied = detached_copy(module)
    assert copied.weight.data_ptr() == module.weight.data_ptr()
    x = torch.randn(2, 4, dtype=dtype)
    (outputs,) = float64_outputs(copied, make_call(copied, x, ["x"]), [{"x": x.numpy()}], ["y"])
    clamped = before.clamp(-0.1, 0.1).double()
    bias = module.bias.detach().double()
    torch.testing.assert_close(torch.from_numpy(outputs["y"]), x.double() @ clamped.T + bias)
    assert torch.equal(module.weight.detach(), before)
