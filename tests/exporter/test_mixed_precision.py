"""Modules that cast between element types: their graph keeps the casts, and their truth has no rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from portable_models import forcing
from torch import Tensor, nn

import blast_deploy as bd
from blast_deploy import reference
from blast_deploy.errors import InvalidInputError

ROWS = {"x": {0: "rows"}}


class Mixed(nn.Module):
    """Layers of every element type, one after the other, between norms of float32."""

    dtypes = (torch.float16, torch.bfloat16, torch.float64, torch.float32)

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(12)
        self.layers = nn.ModuleList(
            bd.BlastLinear(12, 12, blocks=(3, 2), rank=5, dtype=each) for each in self.dtypes
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)

    def forward(self, x: Tensor) -> Tensor:
        for layer, dtype in zip(self.layers, self.dtypes, strict=True):
            x = layer(self.norm(x).to(dtype)).float()
        return x


class Halves(nn.Module):
    """A float16 model with a float32 norm, as mixed precision is usually written."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = bd.BlastLinear(8, 12, blocks=2, rank=4).half()
        self.norm = nn.LayerNorm(12)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(self.enter(x).float()).half()
        return result


class Narrow(nn.Module):
    """Computes something in bfloat16 that ONNX Runtime cannot."""

    def __init__(self, give_narrow: bool = False) -> None:
        super().__init__()
        self.layer = bd.BlastLinear(8, 8, blocks=2, rank=4).bfloat16()
        self.linear = nn.Linear(8, 8).bfloat16()
        self.give_narrow = give_narrow

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.layer(x.bfloat16())
        return hidden if self.give_narrow else self.linear(hidden).float()


def by_hand(module: Mixed, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The function of ``Mixed`` in float64 NumPy, from its parameters as they are stored."""
    weight, shift = (each.detach().double().numpy() for each in (module.norm.weight, module.norm.bias))
    value = x.astype(np.float64)
    for layer in module.layers:
        assert isinstance(layer, bd.BlastLinear)
        assert layer.bias is not None
        centred = value - value.mean(-1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + module.norm.eps) * weight + shift
        value = layer.matrix().apply(normed, layer.bias.detach().double().numpy())
    return value


def test_every_type_in_one_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Mixed()
    x = torch.randn(5, 12)
    bd.export(module, x, tmp_path / "model.onnx", input_names=["x"], output_names=["y"], dynamic_axes=ROWS)
    (sample,) = reference.load(tmp_path / "model.reference.npz").samples
    np.testing.assert_allclose(sample.outputs["y"], by_hand(module, x.numpy()), rtol=1e-12, atol=1e-12)
    bd.compile(tmp_path / "model.onnx", forcing("kernel"), tmp_path / "artifact")
    layers = bd.inspect(tmp_path / "artifact").layers
    assert [layer.dtype for layer in layers] == ["float16", "bfloat16", "float64", "float32"]
    verdict = bd.verify(tmp_path / "artifact", layers=True)
    assert verdict.verdict == "passed", verdict.reasons
    assert set(verdict.kernels.values()) == {"BlastLinearPacked"}


def test_a_float16_model_with_a_norm_in_float32(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 8).half()
    bd.export(Halves(), x, tmp_path / "model.onnx", input_names=["x"], dynamic_axes=ROWS)
    bd.compile(tmp_path / "model.onnx", forcing("kernel"), tmp_path / "artifact")
    verdict = bd.verify(tmp_path / "artifact", layers=True)
    assert verdict.verdict == "passed", verdict.reasons


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Narrow(), "cannot run .*compute that part of the model in float32"),
        (Narrow(give_narrow=True), "output '.*' is bfloat16, which NumPy lacks; let the module return it as"),
    ],
)
def test_what_nothing_computes_is_refused_with_the_remedy(
    module: nn.Module, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        bd.export(module, torch.randn(3, 8), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_an_overflow_of_the_narrow_type_is_called_that_and_leaves_nothing(tmp_path: Path) -> None:
    layer = bd.BlastLinear(8, 8, blocks=2, rank=4).half()
    with torch.no_grad():
        for parameter in (layer.U, layer.S, layer.V):
            parameter.fill_(100)
    with pytest.raises(InvalidInputError, match=r"infinite in plain ONNX Runtime.* overflows; scale"):
        bd.export(layer, torch.ones(2, 8).half(), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
