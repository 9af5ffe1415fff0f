from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gblr_models
import numpy as np
import pytest
from portable_models import forcing, random_layers, write_portable
from safetensors.numpy import save_file

import blast_deploy as bd
from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.gblr.coverage import intervals_of

STRUCTURED = sum(layer.matrix.cost.parameters for layer in random_layers())
DENSE = 37 * 19 + 23 * 37
BIASES = 37 + 23


def write_folder(folder: Path, **changes: Any) -> Path:
    """A model folder as compress writes it: an embedding, and the test's layers."""
    folder.mkdir()
    tensors = {"embedding.weight": np.zeros((11, 19), np.float32)}
    described: dict[str, Any] = {}
    for layer in random_layers():
        matrix = layer.matrix
        tensors |= {f"{layer.name}.U": matrix.u, f"{layer.name}.S": matrix.s, f"{layer.name}.V": matrix.v}
        tensors[f"{layer.name}.bias"] = layer.bias
        described[layer.name] = {
            "out_features": matrix.out_features,
            "in_features": matrix.in_features,
            "blocks": list(matrix.blocks),
            "rank": matrix.rank,
            "bias": True,
        }
    section = {"format_version": 1, "structure": "blast", "layers": described}
    config = {"model_type": "bert", "structured_layers": section} | changes
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_a_portable_file(tmp_path: Path) -> None:
    source = write_portable(tmp_path, random_layers())
    found = bd.inspect(source)
    assert found.kind == "portable model"
    assert [layer.name for layer in found.layers] == ["block.0", "block.1"]
    first = found.layers[0]
    assert (first.operator, first.dtype) == ("BlastLinear", "float32")
    assert (first.out_features, first.in_features) == (37, 19)
    assert first.description == "3 x 2 blocks of rank 5"
    assert first.parameters == 5 * (37 + 19 + 6)
    assert first.dense_parameters == 37 * 19
    assert first.form is None
    assert (found.parameters, found.dense_parameters) == (STRUCTURED + BIASES, DENSE + BIASES)
    assert (found.bytes, found.dense_bytes) == (4 * (STRUCTURED + BIASES), 4 * (DENSE + BIASES))
    assert (found.flops_per_row, found.dense_flops_per_row) == (2 * STRUCTURED, 2 * DENSE)
    assert [spec.name for spec in (*found.inputs, *found.outputs)] == ["x", "y"]
    assert "ai.blast 1" in found.facts["opsets"]


def test_an_artifact_tells_its_plan_and_the_reasons(tmp_path: Path) -> None:
    source = write_portable(tmp_path, random_layers())
    result = bd.compile(source, forcing("body"), tmp_path / "artifact")
    found = bd.inspect(tmp_path / "artifact")
    assert found.kind == "artifact"
    assert found.bytes == result.bytes
    assert [(layer.form, layer.reason) for layer in found.layers] == [
        (layer.form, layer.reason) for layer in result.plan.layers
    ]
    assert found.facts["target"].startswith("cpu-native: ")
    assert "batch 1 to 128" in found.facts["planned for"]
    assert "the function body's own error" in found.facts["tolerance of y"]


def test_a_model_folder(tmp_path: Path) -> None:
    found = bd.inspect(write_folder(tmp_path / "model"))
    assert found.kind == "model folder"
    assert [layer.description for layer in found.layers] == [
        "3 x 2 blocks of rank 5",
        "2 x 5 blocks of rank 7",
    ]
    assert found.layers[1].dtype == "float32"
    rest = 11 * 19 + BIASES
    assert found.parameters == rest + STRUCTURED
    assert found.bytes == 4 * (rest + STRUCTURED)
    assert found.dense_parameters == rest + DENSE
    assert found.dense_bytes == 4 * (rest + DENSE)
    assert found.facts["family"] == "bert"


def test_a_dense_model_folder(tmp_path: Path) -> None:
    found = bd.inspect(write_folder(tmp_path / "model", structured_layers=None))
    assert found.layers == ()
    assert found.parameters == found.dense_parameters


def test_the_tiny_bert(tiny_bert_folder: Path) -> None:
    found = bd.inspect(tiny_bert_folder)
    assert found.kind == "model folder"
    assert found.layers == ()
    assert found.parameters > 0


@pytest.mark.parametrize("section", [[], "all", {"layers": 3}, {"layers": {"block.0": {"rank": 1}}}])
def test_a_damaged_section_is_refused(tmp_path: Path, section: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"damaged|not described completely"):
        bd.inspect(write_folder(tmp_path / "model", structured_layers=section))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(InvalidInputError, match=r"model\.safetensors is damaged"):
        bd.inspect(folder)
    weights.unlink()
    with pytest.raises(InvalidInputError, match=r"no \.safetensors file"):
        bd.inspect(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InvalidInputError, match="no readable JSON"):
        bd.inspect(folder)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        bd.inspect(tmp_path / "nowhere")
    with pytest.raises(InvalidInputError, match=r"neither manifest\.json nor config\.json"):
        bd.inspect(tmp_path)
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(InvalidInputError, match=r"text\.onnx"):
        bd.inspect(tmp_path / "text.onnx")


def test_intervals_are_read_wherever_a_model_lies(tmp_path: Path) -> None:
    chain = gblr_models.chain()
    found = [bd.inspect(chain.write(tmp_path))]
    for form in ("kernel", "dense"):
        bd.compile(tmp_path / "model.onnx", forcing(form), tmp_path / form)
        found.append(bd.inspect(tmp_path / form))
    expected = [intervals_of(matrix) for matrix in chain.matrices]
    for inspection in found:
        assert [layer.intervals for layer in inspection.layers] == expected


def gblr_folder(folder: Path, **changes: Any) -> Path:
    """A model folder of one GBLR layer, with some tensors changed."""
    matrix = gblr_models.odd("wraps-around", np.float32)
    entry = {"out_features": 11, "in_features": 7, "components": 3, "bias": True}
    entry["values"] = [len(matrix.u.values), len(matrix.v.values)]
    section = {"format_version": 2, "structure": "gblr", "layers": {"a": entry}}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "structured_layers": section}))
    tensors = gblr_models.tensors(matrix, np.zeros(11, np.float32)) | changes
    save_file(
        {f"a.{name}": array for name, array in tensors.items() if array is not None}, folder / "a.safetensors"
    )
    return folder


def test_intervals_of_a_model_folder(tmp_path: Path) -> None:
    found = bd.inspect(gblr_folder(tmp_path / "model"))
    assert [layer.intervals for layer in found.layers] == [intervals_of(gblr_models.odd("wraps-around"))]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"v_start": np.array([0, 0, 7])}, "starts must lie in 0 .. 6"),
        ({"u_width": np.array([0, 1, 1])}, "widths must lie in 1 .. 11"),
        ({"u_width": np.ones((3, 1), np.int64)}, "must be int64"),
        ({"u_start": None}, "not described completely"),
        ({"v_width": None}, "holds no intervals of layer a"),
    ],
)
def test_damaged_intervals_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        bd.inspect(gblr_folder(tmp_path / "model", **changes))
