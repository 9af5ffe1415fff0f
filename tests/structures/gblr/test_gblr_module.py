"""GblrLinear and its operator against the float64 matrix, and torch's own checkers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from gblr_models import ODD, learned, odd, random

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.gblr.module import GblrLinear, gblr_linear

LEADING = [(3,), (), (0,), (2, 0), (2, 1, 3)]


def layer_of(name: str, bias: bool = True) -> GblrLinear:
    matrix = odd(name)
    return GblrLinear.from_matrix(matrix, np.arange(matrix.out_features, dtype=float) if bias else None)


def arguments(layer: GblrLinear, x: torch.Tensor) -> tuple[object, ...]:
    left, right = (layer.u, layer.u_start, layer.u_width), (layer.v, layer.v_start, layer.v_width)
    return (x, *left, *right, layer.bias, layer.in_features, layer.out_features)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("bias", [True, False])
def test_forward_is_the_matrix_in_float64(name: str, leading: tuple[int, ...], bias: bool) -> None:
    layer = layer_of(name, bias)
    x = torch.randn(*leading, layer.in_features, dtype=torch.float64)
    y = layer(x)
    truth = layer.matrix().apply(x.numpy(), None if layer.bias is None else layer.bias.detach().numpy())
    assert y.is_contiguous()
    np.testing.assert_allclose(y.detach().numpy(), truth, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["no-components", "wraps-around"])
@pytest.mark.parametrize("leading", [(2, 1, 3), (), (0,)])
def test_opcheck(name: str, leading: tuple[int, ...]) -> None:
    layer = layer_of(name)
    x = torch.randn(*leading, layer.in_features, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(torch.ops.blast_deploy.gblr_linear.default, arguments(layer, x))


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("leading", [(3,), (), (2, 0)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradcheck(name: str, leading: tuple[int, ...], bias: bool) -> None:
    layer = layer_of(name, bias)
    x = torch.randn(*leading, layer.in_features, dtype=torch.float64, requires_grad=True)

    def apply(x: torch.Tensor, u: torch.Tensor, v: torch.Tensor, *bias: torch.Tensor) -> torch.Tensor:
        intervals = (layer.u_start, layer.u_width), (layer.v_start, layer.v_width)
        sizes = layer.in_features, layer.out_features
        return gblr_linear(x, u, *intervals[0], v, *intervals[1], (*bias, None)[0], *sizes)

    tensors = [x, layer.u, layer.v, *([layer.bias] if bias else [])]
    assert torch.autograd.gradcheck(apply, tensors)


def test_a_learned_structure() -> None:
    matrix = learned("output_50", np.float64)
    assert 0.4 < matrix.cost.parameters / (384 * 1536) < 0.5
    x = np.random.default_rng(0).standard_normal((3, 1536))
    found = GblrLinear.from_matrix(matrix)(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(found, x @ matrix.dense().T, atol=1e-10)


def test_values_train_and_intervals_stay() -> None:
    layer = GblrLinear.from_matrix(random(6, 5, 4, dtype=np.float32), np.zeros(6, np.float32))
    before = copy.deepcopy(layer.state_dict())
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    layer(torch.ones(2, 5)).square().sum().backward()
    optimizer.step()
    moved = {name for name, tensor in layer.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"u", "v", "bias"}


def test_autocast() -> None:
    layer = GblrLinear.from_matrix(random(6, 5, 4, dtype=np.float32), np.zeros(6, np.float32))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.ones(2, 5)).dtype == torch.bfloat16


def test_state_dict_comes_back() -> None:
    layer = GblrLinear.from_matrix(random(6, 5, 4, dtype=np.float32))
    sizes = (len(layer.u), len(layer.v))
    other = GblrLinear(5, 6, components=4, values=sizes, bias=False)
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(torch.ones(2, 5)), layer(torch.ones(2, 5)))
    assert "components=4" in repr(layer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(2, 6)}, "must be 5"),
        ({"x": torch.ones(2, 5, dtype=torch.float64)}, r"u must be torch.float64"),
        ({"bias": torch.ones(5)}, r"the bias must be \(6,\)"),
        ({"u": torch.ones(1)}, "the sum of the widths"),
        ({"u_start": torch.tensor([6, 0, 0, 0])}, "starts must lie in 0 .. 5"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, torch.Tensor], message: str) -> None:
    layer = GblrLinear.from_matrix(random(6, 5, 4, dtype=np.float32))
    names = ("x", "u", "u_start", "u_width", "v", "v_start", "v_width", "bias")
    given = dict(zip(names, arguments(layer, torch.ones(2, 5))[:8], strict=True)) | change
    with pytest.raises(InvalidInputError, match=message):
        gblr_linear(*given.values(), 5, 6)


def test_sides_of_other_counts_are_refused() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    one = torch.ones(1, dtype=torch.int64)
    with pytest.raises(InvalidInputError, match="as many u_start as v_start"):
        gblr_linear(torch.ones(2, 3), torch.ones(1), one * 0, one, torch.ones(0), none, none, None, 3, 2)


@pytest.mark.parametrize(("components", "values"), [(-1, (0, 0)), (2, (1, 4)), (2, (4, 11))])
def test_impossible_sizes_are_refused(components: int, values: tuple[int, int]) -> None:
    with pytest.raises(InvalidInputError, match="components"):
        GblrLinear(5, 6, components=components, values=values)


def test_a_bias_of_another_shape_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"must be \(6,\)"):
        GblrLinear.from_matrix(random(6, 5, 4), np.zeros(5))
