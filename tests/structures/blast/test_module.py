"""BlastLinear and its operator against the float64 matrix, torch's own checkers, and a training run."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.blast.module import BlastLinear, blast_linear, matching_linears, replace_linear

# in, out, (b1, b2), rank: dividing, not dividing, rank 1, more block rows than rows of some blocks
SIZES = [(8, 6, (2, 4), 3), (7, 5, (3, 2), 4), (1, 1, (1, 1), 1), (13, 11, (1, 5), 1), (5, 9, (4, 1), 2)]
LEADING = [(3,), (), (0,), (2, 0), (2, 1, 3)]


def layer_of(size: tuple[int, int, tuple[int, int], int], bias: bool = True, seed: int = 0) -> BlastLinear:
    torch.manual_seed(seed)
    in_features, out_features, blocks, rank = size
    layer = BlastLinear(in_features, out_features, blocks=blocks, rank=rank, bias=bias, dtype=torch.float64)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def arguments(layer: BlastLinear, x: torch.Tensor) -> tuple[object, ...]:
    return (x, layer.U, layer.S, layer.V, layer.bias, layer.in_features, layer.out_features)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("bias", [True, False])
def test_forward_is_the_matrix_in_float64(
    size: tuple[int, int, tuple[int, int], int], leading: tuple[int, ...], bias: bool
) -> None:
    layer = layer_of(size, bias)
    x = torch.randn(*leading, size[0], dtype=torch.float64)
    y = layer(x)
    truth = layer.matrix().apply(x.numpy(), None if layer.bias is None else layer.bias.detach().numpy())
    assert y.is_contiguous()
    np.testing.assert_allclose(y.detach().numpy(), truth, rtol=1e-12, atol=1e-12)


def test_forward_reads_strided_input() -> None:
    layer = layer_of((8, 6, (2, 2), 3))
    wide = torch.randn(8, 10, dtype=torch.float64)
    torch.testing.assert_close(layer(wide.t()), layer(wide.t().contiguous()))


@pytest.mark.parametrize("size", SIZES[:3])
@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("bias", [True, False])
def test_opcheck(size: tuple[int, int, tuple[int, int], int], leading: tuple[int, ...], bias: bool) -> None:
    layer = layer_of(size, bias)
    x = torch.randn(*leading, size[0], dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(torch.ops.blast_deploy.blast_linear.default, arguments(layer, x))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("bias", [True, False])
def test_gradcheck(size: tuple[int, int, tuple[int, int], int], leading: tuple[int, ...], bias: bool) -> None:
    layer = layer_of(size, bias)
    x = torch.randn(*leading, size[0], dtype=torch.float64, requires_grad=True)
    tensors = [x, layer.U, layer.S, layer.V, *([layer.bias] if bias else [])]

    def apply(*operands: torch.Tensor) -> torch.Tensor:
        factors = (*operands, None)[:5]
        return blast_linear(*factors, layer.in_features, layer.out_features)

    assert torch.autograd.gradcheck(apply, tensors)


def test_second_derivatives() -> None:
    layer = layer_of((5, 4, (2, 2), 2))
    x = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda value: layer(value).square(), (x,))


def test_only_asked_for_gradients_are_made() -> None:
    layer = layer_of((8, 6, (2, 4), 3))
    layer.U.requires_grad_(False)
    layer(torch.randn(3, 8, dtype=torch.float64)).sum().backward()
    assert layer.U.grad is None
    assert layer.S.grad is not None


def test_padding_stays_out_of_results_and_gradients() -> None:
    layer = layer_of((7, 5, (2, 3), 4))  # p = 3, q = 3: one padding row of U, two padding columns of V
    x = torch.randn(4, 7, dtype=torch.float64)
    before = layer(x)
    with torch.no_grad():
        layer.U[1, 2:] += 1e6
        layer.V[2, :, 1:] += 1e6
    torch.testing.assert_close(layer(x), before)
    layer(x).square().sum().backward()
    assert layer.U.grad is not None
    assert layer.V.grad is not None
    assert not layer.U.grad[1, 2:].any()
    assert not layer.V.grad[2, :, 1:].any()
    assert layer.U.grad[1, :2].all()


def test_fresh_padding_is_zero() -> None:
    layer = BlastLinear(7, 5, blocks=(2, 3), rank=4)
    assert not layer.U[1, 2:].any()
    assert not layer.V[2, :, 1:].any()
    assert layer.U[1, :2].all()
    assert layer.V[2, :, :1].all()
    assert layer.U[0].all()


@pytest.mark.parametrize(
    "size",
    [(512, 512, (4, 4), 64), (512, 1537, (3, 7), 200), (1000, 300, (16, 1), 40), (300, 900, (1, 5), 8)],
)
def test_fresh_activations_keep_their_scale(size: tuple[int, int, tuple[int, int], int]) -> None:
    torch.manual_seed(0)
    variances = []
    for _ in range(30):
        layer = BlastLinear(size[0], size[1], blocks=size[2], rank=size[3])
        variances.append(layer(torch.randn(32, size[0])).detach().var())
    # A single layer's variance strays from 1 by about sqrt(2 / r); the mean of 30 by a fifth of that.
    assert float(torch.stack(variances).mean()) == pytest.approx(1, abs=4 * (2 / size[3] / 30) ** 0.5)


def test_trains_from_scratch() -> None:
    torch.manual_seed(0)
    teacher = nn.Linear(12, 5)
    model = nn.Sequential(
        BlastLinear(12, 24, blocks=3, rank=6), nn.ReLU(), BlastLinear(24, 5, blocks=2, rank=4)
    )
    x = torch.randn(256, 12)
    target = teacher(x).detach()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(300):
        loss = nn.functional.mse_loss(model(x), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.05 * losses[0]


def test_autocast_computes_in_its_dtype() -> None:
    layer = BlastLinear(8, 6, blocks=2, rank=3)
    x = torch.randn(4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert layer.U.grad is not None
    assert layer.U.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision(dtype: torch.dtype) -> None:
    layer = BlastLinear(24, 18, blocks=(2, 3), rank=5, dtype=dtype)
    x = torch.randn(4, 24, dtype=dtype)
    truth = layer.matrix().apply(x.float().numpy())
    tolerance = 16 * torch.finfo(dtype).eps
    np.testing.assert_allclose(layer(x).detach().float().numpy(), truth, rtol=tolerance, atol=tolerance)


def test_compiled_graph_keeps_one_operator() -> None:
    layer = layer_of((8, 6, (2, 4), 3))
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(
        layer, (torch.randn(3, 8, dtype=torch.float64),), dynamic_shapes=({0: batch},)
    )
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert targets == ["blast_deploy.blast_linear.default"]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 7), r"last axis of the input must be 8 \(got shape \(3, 7\)\)"),
        (torch.zeros(()), r"must be 8 \(got shape \(\)\)"),
        (torch.zeros(3, 8, dtype=torch.float64), r"U must be torch.float64 like the input"),
    ],
)
def test_wrong_input_is_refused(x: torch.Tensor, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        BlastLinear(8, 6, blocks=2, rank=3)(x)


def test_disagreeing_operands_are_refused() -> None:
    layer = BlastLinear(8, 6, blocks=2, rank=3)
    with pytest.raises(InvalidInputError, match=r"U must be \(2, 4, 3\)"):
        blast_linear(torch.zeros(1, 8), layer.U, layer.S, layer.V, None, 8, 7)
    with pytest.raises(InvalidInputError, match=r"bias must be \(6,\) \(got \(1,\)\)"):
        blast_linear(torch.zeros(1, 8), layer.U, layer.S, layer.V, torch.zeros(1), 8, 6)


@pytest.mark.parametrize("change", [{"rank": 0}, {"blocks": (0, 2)}, {"blocks": -1}])
def test_sizes_must_be_positive(change: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match="must be positive"):
        BlastLinear(8, 6, **({"rank": 2} | change))  # type: ignore[arg-type]


def test_state_dict_round_trip() -> None:
    layer, other = layer_of((7, 5, (3, 2), 4)), layer_of((7, 5, (3, 2), 4), seed=1)
    assert list(layer.state_dict()) == ["U", "S", "V", "bias"]
    assert list(layer_of((7, 5, (3, 2), 4), bias=False).state_dict()) == ["U", "S", "V"]
    other.load_state_dict(layer.state_dict())
    x = torch.randn(2, 7, dtype=torch.float64)
    torch.testing.assert_close(other(x), layer(x))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_matrix_round_trip(dtype: type[np.floating]) -> None:
    factors = [f.astype(dtype) for f in (np.ones((3, 2, 4)), np.ones((3, 2, 4)), np.ones((2, 4, 4)))]
    factors[0][:] = np.arange(24).reshape(3, 2, 4)
    matrix = BlastMatrix(*factors, out_features=5, in_features=7)
    layer = BlastLinear.from_matrix(matrix, np.arange(5.0))
    assert layer.bias is not None
    assert layer.bias.dtype == layer.U.dtype
    assert all(parameter.requires_grad for parameter in layer.parameters())
    factors[0][:] = 0
    again = layer.matrix()
    assert again.u.dtype == dtype
    assert again.u.sum() == 276
    np.testing.assert_allclose(layer.double().dense_weight().numpy(), again.dense(), rtol=1e-14)
    assert BlastLinear.from_matrix(matrix).bias is None
    with pytest.raises(InvalidInputError, match="bias must be"):
        BlastLinear.from_matrix(matrix, np.zeros(4))


def test_extra_repr_shows_the_sizes() -> None:
    assert repr(BlastLinear(8, 6, blocks=(2, 4), rank=3, bias=False)) == (
        "BlastLinear(in_features=8, out_features=6, blocks=(2, 4), rank=3, bias=False)"
    )


def test_deepcopy_and_meta_device() -> None:
    layer = BlastLinear(7, 5, blocks=2, rank=3, device="meta")
    assert copy.deepcopy(layer).U.shape == (2, 3, 3)
    assert layer(torch.zeros(4, 7, device="meta")).shape == (4, 5)


def model() -> nn.Module:
    shared = nn.Linear(4, 4)
    block = nn.ModuleDict({"query": shared, "key": nn.Linear(4, 4), "again": shared})
    return nn.ModuleDict({"block": block, "head": nn.Linear(4, 2), "norm": nn.LayerNorm(4)})


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["block.query", "block.key", "block.again", "head"]),
        ("block.*", ["block.query", "block.key", "block.again"]),
        ("*.key, head", ["block.key", "head"]),
        ("head", ["head"]),
    ],
)
def test_patterns(pattern: str, names: list[str]) -> None:
    assert list(matching_linears(model(), pattern)) == names


@pytest.mark.parametrize("pattern", ["nothing", "head,typo.*", "", "norm"])
def test_a_glob_that_matches_nothing_is_refused(pattern: str) -> None:
    whole = model()
    with pytest.raises(InvalidInputError, match=r"no linear layer matches .*has 4 of them"):
        replace_linear(whole, pattern, blast_like)
    assert not any(isinstance(child, BlastLinear) for child in whole.modules())


def test_subclasses_of_linear_are_left_alone() -> None:
    attention = nn.MultiheadAttention(8, 2)
    with pytest.raises(InvalidInputError, match="has 0 of them"):
        matching_linears(attention, "*")


def blast_like(name: str, linear: nn.Linear) -> BlastLinear:
    return BlastLinear(linear.in_features, linear.out_features, blocks=2, rank=2)


def test_replacement_is_in_place_and_keeps_sharing() -> None:
    whole = model()
    seen: list[str] = []

    def make(name: str, linear: nn.Linear) -> nn.Module:
        seen.append(name)
        return blast_like(name, linear)

    made = replace_linear(whole, "block.*", make)
    assert seen == ["block.query", "block.key"]
    assert whole.get_submodule("block.query") is whole.get_submodule("block.again") is made["block.query"]
    assert type(whole.get_submodule("head")) is nn.Linear


def failing(name: str, linear: nn.Linear) -> nn.Module:
    if name == "head":
        raise RuntimeError("stop")
    return blast_like(name, linear)


@pytest.mark.parametrize("make", [failing])
def test_nothing_is_replaced_when_making_fails(make: Callable[[str, nn.Linear], nn.Module]) -> None:
    whole = model()
    with pytest.raises(RuntimeError, match="stop"):
        replace_linear(whole, "*", make)
    assert not any(isinstance(child, BlastLinear) for child in whole.modules())
