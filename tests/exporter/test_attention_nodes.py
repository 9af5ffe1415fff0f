"""What one more layer of a transformer adds to a portable file, and to what ONNX Runtime runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from transformers import BertConfig, BertModel

import blast_deploy as bd
from blast_deploy.passes.load import load_model


class Encoder(torch.nn.Module):
    """BERT's layers alone, all linear ones BLAST."""

    def __init__(self, layers: int, activation: str) -> None:
        super().__init__()
        config = BertConfig(
            vocab_size=20,
            hidden_size=256,
            num_attention_heads=4,
            intermediate_size=512,
            num_hidden_layers=layers,
            hidden_act=activation,
        )
        model = bd.compress(BertModel(config, add_pooling_layer=False), layers="encoder.*", keep=0.2).module
        self.encoder = model.encoder

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x).last_hidden_state


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of one layer and of two."""
    folder = tmp_path_factory.mktemp("attention")
    paths = folder / "one.onnx", folder / "two.onnx"
    axes = {"x": {0: "batch", 1: "sequence"}}
    for layers, path in enumerate(paths, start=1):
        torch.manual_seed(0)
        module = Encoder(layers, "gelu_new").eval()
        bd.export(module, torch.randn(2, 5, 256), path, input_names=["x"], dynamic_axes=axes)
    return paths


def nodes(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in load_model(path).graph)


def optimised(model: Path) -> Counter[str]:
    """Nodes that ONNX Runtime runs, by operator."""
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(bd.library_path()))
    options.log_severity_level = 3
    options.optimized_model_filepath = str(model.with_name("optimised.onnx"))
    onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(options.optimized_model_filepath, load_external_data=False).graph
    return Counter(node.op_type for node in graph.node)


def difference(one: Counter[str], two: Counter[str]) -> dict[str, int]:
    """What two layers have more than one, the guard of the softmax against rows without any weight aside."""
    two.subtract(one)
    return {name: count for name, count in two.items() if count and name not in ("IsNaN", "Where")}


def test_a_layer_adds_no_more_than_its_own_operators(portable: tuple[Path, Path]) -> None:
    assert difference(*map(nodes, portable)) == {
        "BlastLinear": 6,
        "Reshape": 4,  # q, k and v to heads, and the heads back
        "Transpose": 5,  # those four, and the keys once more
        "Mul": 2,  # the scale of attention, its root for each side
        "MatMul": 2,
        "Softmax": 1,
        "Add": 2,
        "LayerNormalization": 2,
        "Gelu": 1,
    }


def test_in_an_artifact_it_adds_fewer(portable: tuple[Path, Path], tmp_path: Path) -> None:
    models = []
    for path in portable:
        bd.compile(path, target="cpu-native", output=tmp_path / path.stem, shape="batch=2,sequence=8")
        models.append(tmp_path / path.stem / "model.onnx")
    assert difference(*map(optimised, models)) == {
        "BlastLinearGroupPacked": 1,  # q, k and v
        "BlastLinearPacked": 3,  # with GELU and both residuals
        "Reshape": 4,
        "Transpose": 4,  # the keys' two are one
        "FusedMatMul": 1,  # with the scales
        "MatMul": 1,
        "Softmax": 1,
        "LayerNormalization": 2,
    }
