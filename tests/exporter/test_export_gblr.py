"""Torch modules with GBLR layers become portable files: fixed structures as they are, learned ones frozen."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from gblr_models import odd, random
from torch import Tensor, nn

import blast_deploy as bd
from blast_deploy import reference
from blast_deploy.model_paths import reference_path
from blast_deploy.passes.load import load_model
from blast_deploy.passes.structured import structured_layers
from blast_deploy.structures.blast.module import BlastLinear
from blast_deploy.structures.gblr.gaudi import GaudiGblrLinear
from blast_deploy.structures.gblr.module import GblrLinear

AXES = {"x": {0: "batch", 1: "rows"}}


class Mixed(nn.Module):
    """A layer that learns its structure, one of a fixed structure and no bias, BLAST, and one used twice."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.enter = GaudiGblrLinear(19, 24, components=9, rank_per_component=2, width=0.6, sigma=sigma)
        self.middle = nn.ModuleList([GblrLinear.from_matrix(random(17, 24, 8, dtype=np.float32))])
        self.blast = BlastLinear(17, 20, blocks=2, rank=5)
        self.shared = GaudiGblrLinear(20, 20, components=7, width=0.5, sigma=sigma)
        self.also = self.shared
        with torch.no_grad():
            self.enter.u_width[0] = 0.02  # dead
            self.shared.v_width[1:3] = torch.tensor([1.0, 0.0])

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.middle[0](torch.tanh(self.enter(x))))
        result: Tensor = self.also(torch.tanh(self.shared(torch.tanh(self.blast(hidden)))))
        return result


def run(path: Path, x: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


@pytest.mark.parametrize("sigma", [math.inf, 6.0])
def test_the_whole_way(sigma: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Mixed(sigma)
    path = tmp_path / "model.onnx"
    result = bd.export(module, torch.randn(2, 3, 19), path, dynamic_axes=AXES)
    assert result.structured_layers == ("enter", "middle.0", "blast", "also", "also#2")
    assert isinstance(module.enter, GaudiGblrLinear), "the caller's module must not be touched"
    assert module.training
    x = torch.randn(4, 5, 19)
    expected = module.eval()(x).detach().numpy()
    np.testing.assert_allclose(run(path, x), expected, rtol=1e-5, atol=1e-5)
    graph = load_model(path)
    assert sorted(name for _, name, _ in graph.functions) == ["BlastLinear", "GblrLinear"]
    layers = {layer.name: layer for layer in structured_layers(graph)}
    assert layers["enter"].rank == 16
    assert layers["also"].node.inputs[1] is layers["also#2"].node.inputs[1]
    bd.compile(path, "cpu-stock", tmp_path / "artifact", shape="batch=1,rows=1:16")
    verdict = bd.verify(tmp_path / "artifact", layers=True)
    assert (verdict.verdict, verdict.reasons) == ("passed", ())


def test_the_reference_is_the_frozen_layer_in_float64(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer, x, path = GaudiGblrLinear(13, 11, sigma=5.0), torch.randn(6, 13), tmp_path / "model.onnx"
    bd.export(layer, x, path)
    (sample,) = reference.load(reference_path(path)).samples
    truth = layer.matrix().apply(x.numpy(), np.zeros(11))
    (found,) = sample.outputs.values()
    np.testing.assert_allclose(found, truth, rtol=1e-12, atol=1e-12)
    (found_layer,) = structured_layers(load_model(path))
    assert found_layer.name == "layer"


def test_dense_export_multiplies_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x = Mixed(6.0).eval(), torch.randn(2, 3, 19)
    bd.export(module, x, tmp_path / "dense.onnx", dynamic_axes=AXES, dense=True)
    assert not {node.domain for node in onnx.load(tmp_path / "dense.onnx").graph.node} - {""}
    np.testing.assert_allclose(run(tmp_path / "dense.onnx", x), module(x).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["no-components", "one-of-everything", "width-one"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_odd_structures_export(name: str, dtype: type, tmp_path: Path) -> None:
    matrix = odd(name, dtype)
    module = GblrLinear.from_matrix(matrix, np.ones(matrix.out_features, dtype))
    x = torch.randn(3, matrix.in_features).to(module.u.dtype)
    bd.export(module, x, tmp_path / "model.onnx", dynamic_axes={"x": {0: "rows"}})
    tolerance = 8 * np.finfo(dtype).eps
    expected = module(x).detach().numpy()
    np.testing.assert_allclose(run(tmp_path / "model.onnx", x), expected, rtol=tolerance, atol=tolerance)


def test_layers_without_components_keep_their_names(tmp_path: Path) -> None:
    """torch's exporter lets equal constants be one, so that only the biases tell such layers apart."""
    module = nn.Sequential(*(GaudiGblrLinear(6, 6) for _ in range(2)))
    with torch.no_grad():
        for layer in module:
            layer.u_width.zero_()
            layer.bias.normal_()
    result = bd.export(module, torch.randn(2, 6), tmp_path / "model.onnx")
    assert result.structured_layers == ("0", "1")
