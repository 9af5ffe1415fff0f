"""Layers that one node computes are judged each by itself."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from planting import edit_model
from portable_models import LayerSizes, forcing, portable, random_layers

import blast_deploy as bd
from blast_deploy.artifact import read_artifact
from blast_deploy.passes.identity import LAYERS

NAMES = ("block.0", "block.1", "block.2")


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of y = layer 0 + tanh(layer 1) + sigmoid(layer 2), all of x."""
    folder = tmp_path_factory.mktemp("grouped")
    nodes, initializers = [], []
    for layer in random_layers((LayerSizes(24, 30, (2, 3), 7),) * 3):
        tensors = {"U": layer.matrix.u, "S": layer.matrix.s, "V": layer.matrix.v, "bias": layer.bias}
        own = [numpy_helper.from_array(array, f"{layer.name}.{name}") for name, array in tensors.items()]
        initializers += own
        entering = ["x", *(tensor.name for tensor in own)]
        sizes = {"in_features": 30, "out_features": 24}
        nodes.append(
            helper.make_node(
                "BlastLinear", entering, [f"{layer.name}.y"], layer.name, domain="ai.blast", **sizes
            )
        )
    nodes.append(helper.make_node("Tanh", ["block.1.y"], ["tanh"], "tanh"))
    nodes.append(helper.make_node("Sigmoid", ["block.2.y"], ["sigmoid"], "sigmoid"))
    nodes.append(helper.make_node("Sum", ["block.0.y", "tanh", "sigmoid"], ["y"], "sum"))
    onnx.save(portable(nodes, initializers, TensorProto.FLOAT, 30, 24), folder / "model.onnx")
    random = np.random.default_rng(0)
    np.savez(folder / "x.npz", x=random.standard_normal((2, 5, 30)).astype(np.float32))
    bd.compile(folder / "model.onnx", forcing("kernel"), folder / "artifact", samples=folder / "x.npz")
    return folder / "artifact"


def test_grouped_layers_pass_and_are_told(grouped: Path) -> None:
    verdict = bd.verify(grouped, layers=True)
    assert verdict.verdict == "passed", verdict.summary
    assert verdict.kernels == dict.fromkeys(NAMES, "BlastLinearGroupPacked")
    described = [layer.described for layer in read_artifact(grouped).manifest.plan.layers]
    assert described[1] == "kernel, grouped with block.0 and block.2"


def swap_inputs(first: int, second: int) -> Callable[[ir.Model], None]:
    def swap(model: ir.Model) -> None:
        node = model.graph[0]
        one, two = node.inputs[first], node.inputs[second]
        node.replace_input_with(first, two)
        node.replace_input_with(second, one)

    return swap


def swap_names(model: ir.Model) -> None:
    model.graph[0].metadata_props[LAYERS] = '["block.0", "block.2", "block.1"]'


def drop_name(model: ir.Model) -> None:
    model.graph[0].metadata_props[LAYERS] = '["block.0", "block.1"]'


WRONG = r"layer block\.{}: error rms"


@pytest.mark.parametrize(
    ("edit", "faulty"),
    [
        pytest.param(swap_inputs(3, 5), (1, 2), id="factors of two layers swapped"),
        pytest.param(swap_inputs(2, 6), (0, 2), id="biases of two layers swapped"),
        pytest.param(swap_names, (1, 2), id="names of two layers swapped"),
    ],
)
def test_a_fault_is_named_for_each_layer_that_has_it(
    grouped: Path, tmp_path: Path, edit: Callable[[ir.Model], None], faulty: tuple[int, ...]
) -> None:
    copy = shutil.copytree(grouped, tmp_path / "artifact")
    edit_model(copy, edit)
    verdict = bd.verify(copy, layers=True)
    assert verdict.verdict == "failed"
    text = "\n".join(each.reason for each in verdict.layers)
    for index in range(3):
        assert bool(re.search(WRONG.format(index), text)) == (index in faulty), text


def test_a_layer_that_its_group_does_not_name_fails(grouped: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(grouped, tmp_path / "artifact")
    edit_model(copy, drop_name)
    verdict = bd.verify(copy, layers=True)
    assert verdict.verdict == "failed"
    assert "block.2 was to run as kernel, but the runtime ran nothing known" in "\n".join(verdict.reasons)
