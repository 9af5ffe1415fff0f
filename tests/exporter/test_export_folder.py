"""A BERT folder, dense and structured, becomes a portable file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

import blast_deploy as bd
from blast_deploy import reference
from blast_deploy.reference import Reference, Sample
from blast_deploy.results import ExportResult
from blast_deploy.structures.blast.module import BlastLinear, replace_linear

LAYERS = 12


@pytest.fixture(scope="module")
def structured_folder(tiny_bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT with random BLAST layers, and a made-up reference of its dense original."""
    module = bd.load(tiny_bert_folder)
    torch.manual_seed(0)
    replace_linear(
        module,
        "encoder.layer.*",
        lambda name, linear: BlastLinear(linear.in_features, linear.out_features, blocks=4, rank=6),
    )
    folder = tmp_path_factory.mktemp("structured") / "folder"
    dense = Sample(inputs(2, 5), {"last_hidden_state": np.full((2, 5, 36), 0.5)})
    bd.save(module, folder, dense=Reference("0" * 64, (dense,)))
    return folder


@pytest.fixture(scope="module")
def exported(structured_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    return bd.export(structured_folder, path=tmp_path_factory.mktemp("bert") / "model.onnx")


def inputs(batch: int, sequence: int) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(batch)
    mask = np.ones((batch, sequence), np.int64)
    mask[-1, sequence // 2 + 1 :] = 0
    return {
        "input_ids": generator.integers(0, 40, (batch, sequence)),
        "attention_mask": mask,
        "token_type_ids": np.zeros((batch, sequence), np.int64),
    }


def in_float64(folder: Path, given: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    module = bd.load(folder).double()
    with torch.no_grad():
        output = module(**{name: torch.tensor(array) for name, array in given.items()})
    result: NDArray[np.float64] = output.last_hidden_state.numpy()
    return result


def test_layers_inputs_and_axes(exported: ExportResult) -> None:
    assert len(exported.structured_layers) == LAYERS
    assert exported.structured_layers[0] == "encoder.layer.0.attention.self.query"
    assert [spec.name for spec in exported.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert all(spec.shape == ("batch", "sequence") and spec.dtype == "int64" for spec in exported.inputs)
    (output,) = exported.outputs
    assert (output.name, output.shape) == ("last_hidden_state", ("batch", "sequence", 36))
    onnx.checker.check_model(exported.path, full_check=True)
    names = [tensor.name for tensor in onnx.load(exported.path).graph.initializer]
    assert "encoder.layer.1.output.dense.V" in names
    assert not any(name.startswith("model.") for name in names)


@pytest.mark.parametrize("shape", [(1, 3), (2, 9), (4, 31)])
def test_runs_at_any_size(structured_folder: Path, exported: ExportResult, shape: tuple[int, int]) -> None:
    given = inputs(*shape)
    (found,) = onnxruntime.InferenceSession(exported.path).run(None, given)
    np.testing.assert_allclose(found, in_float64(structured_folder, given), rtol=1e-4, atol=1e-4)


def test_the_folders_reference_of_the_dense_original_comes_along(
    structured_folder: Path, exported: ExportResult
) -> None:
    assert exported.reference is not None
    (sample,) = reference.load(exported.reference, reference.sha256(exported.path)).samples
    np.testing.assert_array_equal(sample.inputs["input_ids"], inputs(2, 5)["input_ids"])
    np.testing.assert_allclose(
        sample.outputs["last_hidden_state"], in_float64(structured_folder, inputs(2, 5)), rtol=1e-9
    )
    assert sample.dense_outputs is not None
    np.testing.assert_array_equal(sample.dense_outputs["last_hidden_state"], np.full((2, 5, 36), 0.5))


def test_a_loaded_model_needs_no_example(tiny_bert_folder: Path, tmp_path: Path) -> None:
    result = bd.export(bd.load(tiny_bert_folder), path=tmp_path / "dense.onnx")
    assert result.structured_layers == ()
    assert result.reference is not None
    samples = reference.load(result.reference).samples
    assert len(samples) >= 2
    assert len({sample.inputs["input_ids"].shape for sample in samples}) >= 2
    assert all(sample.dense_outputs is None for sample in samples)
    for sample in samples:
        (found,) = onnxruntime.InferenceSession(result.path).run(None, dict(sample.inputs))
        np.testing.assert_allclose(found, sample.outputs["last_hidden_state"], rtol=1e-4, atol=1e-4)
