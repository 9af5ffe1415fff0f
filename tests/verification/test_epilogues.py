"""Layers with epilogues from a torch module to the verdict, and kernels that would do another one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx_ir as ir
import pytest
from planting import edit_model, reasons, rewrite
from portable_models import forcing

import blast_deploy as bd
from blast_deploy.artifact import read_artifact
from blast_deploy.results import Epilogue

pytestmark = pytest.mark.extras
WIDTH = 48


def compiled(folder: Path, activation: str, dtype: str = "float32") -> Path:
    """A feed-forward block with a residual and a norm, exported and compiled for the kernel."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = bd.BlastLinear(WIDTH, 96, blocks=4, rank=12)
            self.down = bd.BlastLinear(96, WIDTH, blocks=4, rank=12)
            self.act = {
                "gelu": nn.GELU(),
                "gelu_tanh": nn.GELU(approximate="tanh"),
                "silu": nn.SiLU(),
            }[activation]
            self.norm = nn.LayerNorm(WIDTH)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(x + self.down(self.act(self.up(x))))

    torch.manual_seed(0)
    module = Block().to(getattr(torch, dtype))
    x = torch.randn(2, 7, WIDTH, dtype=getattr(torch, dtype))
    axes = {"x": {0: "batch", 1: "rows"}}
    bd.export(module, x, folder / "model.onnx", input_names=["x"], dynamic_axes=axes)
    bd.compile(folder / "model.onnx", forcing("kernel"), folder / "artifact")
    return folder / "artifact"


@pytest.mark.parametrize(
    ("activation", "dtype"),
    # Plain ONNX Runtime, the measure, has no Erf for double.
    [(name, dtype) for name in ("gelu", "gelu_tanh", "silu") for dtype in ("float32", "float16")]
    + [("gelu_tanh", "float64"), ("silu", "float64")],
)
def test_layers_with_epilogues_pass(tmp_path: Path, activation: str, dtype: str) -> None:
    artifact = compiled(tmp_path, activation, dtype)
    plan = read_artifact(artifact).manifest.plan
    assert {layer.layer: layer.epilogue for layer in plan.layers} == {
        "up": Epilogue(activation),  # type: ignore[arg-type]
        "down": Epilogue(residual=True),
    }
    result = bd.verify(artifact, layers=True)
    assert result.verdict == "passed", result.reasons
    assert {layer.subject for layer in result.layers} == {"up", "down"}
    assert set(result.kernels.values()) == {"BlastLinearPacked"}
    shown = {layer.name: layer.epilogue for layer in bd.inspect(artifact).layers}
    assert shown == {"up": activation, "down": "residual"}


def node_of(model: ir.Model, layer: str) -> ir.Node:
    return next(node for node in model.graph if node.name == layer)


def test_another_activation_than_promised_fails(tmp_path: Path) -> None:
    artifact = compiled(tmp_path, "gelu")
    edit_model(
        artifact, lambda model: node_of(model, "up").attributes.add(ir.AttrString("activation", "gelu_tanh"))
    )
    text = reasons(bd.verify(artifact, layers=True))
    assert "layer up" in text


def test_a_residual_that_is_dropped_fails(tmp_path: Path) -> None:
    artifact = compiled(tmp_path, "gelu")

    def drop(model: ir.Model) -> None:
        node = node_of(model, "down")
        node.resize_inputs(3)
        del node.metadata_props["blast_deploy.layer_residual"]

    edit_model(artifact, drop)
    text = reasons(bd.verify(artifact, layers=True))
    assert "layer down: a residual is to be added to it, and the runtime's node does otherwise" in text
    assert "output" in text


def test_a_residual_that_was_not_promised_fails(tmp_path: Path) -> None:
    artifact = compiled(tmp_path, "gelu")
    plan = read_artifact(artifact).manifest.plan
    layers = tuple(dataclasses.replace(layer, epilogue=Epilogue()) for layer in plan.layers)
    rewrite(artifact, plan=dataclasses.replace(plan, layers=layers))
    text = reasons(bd.verify(artifact, layers=True))
    assert "layer down: no residual is to be added to it, and the runtime's node does otherwise" in text
    assert "layer up" in text
