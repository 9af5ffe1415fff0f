"""Model folders with GBLR layers, alone and beside BLAST."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
from gblr_models import random
from safetensors.torch import load_file, save_file
from torch import nn

import blast_deploy as bd
from blast_deploy.checkpoints.folder import load, save
from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.module import BlastLinear, replace_linear
from blast_deploy.structures.gblr.gaudi import GaudiGblrLinear
from blast_deploy.structures.gblr.module import GblrLinear

TOKENS = {"input_ids": torch.tensor([[2, 9, 17, 3], [2, 30, 3, 0]])}


def gblr(name: str, linear: nn.Linear) -> GblrLinear:
    """An odd number of components; one of the layers has none."""
    count = 0 if name.endswith("1.output.dense") else 7
    matrix = random(
        linear.out_features, linear.in_features, count, seed=crc32(name.encode()), dtype=np.float32
    )
    return GblrLinear.from_matrix(matrix, linear.bias.detach().numpy())


def structured(folder: Path, *, mixed: bool) -> nn.Module:
    module = load(folder)
    torch.manual_seed(0)
    if mixed:
        replace_linear(
            module,
            "encoder.layer.0.*",
            lambda name, linear: BlastLinear(linear.in_features, linear.out_features, blocks=2, rank=3),
        )
    replace_linear(module, "encoder.layer.1.*" if mixed else "encoder.layer.*", gblr)
    return module.eval()


@pytest.fixture(scope="module", params=["gblr", "mixed"])
def saved(
    request: pytest.FixtureRequest, tiny_bert_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, nn.Module, Path]:
    module = structured(tiny_bert_folder, mixed=request.param == "mixed")
    path = save(module, tmp_path_factory.mktemp("gblr") / "model", tokenizer=tiny_bert_folder)
    return request.param, module, path


def test_round_trip_is_bit_exact(saved: tuple[str, nn.Module, Path]) -> None:
    structure, module, path = saved
    section = json.loads((path / "config.json").read_text())["structured_layers"]
    assert (section["format_version"], section["structure"]) == (2, structure)
    entry = section["layers"]["encoder.layer.1.attention.self.query"]
    assert entry.get("structure") == ("gblr" if structure == "mixed" else None)
    loaded = load(path)
    before, after = module.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    with torch.no_grad():
        assert torch.equal(module(**TOKENS).last_hidden_state, loaded(**TOKENS).last_hidden_state)


def test_inspection_counts_values_and_indices(saved: tuple[str, nn.Module, Path]) -> None:
    structure, module, path = saved
    found = bd.inspect(path)
    layers = {name: each for name, each in module.named_modules() if isinstance(each, GblrLinear)}
    named = {layer.name: layer for layer in found.layers}
    assert len(named) == 12
    for name, layer in layers.items():
        assert named[name].operator == "GblrLinear"
        assert named[name].parameters == layer.u.numel() + layer.v.numel()
    assert named["encoder.layer.1.output.dense"].description == "no components"
    stored = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    assert found.bytes == stored
    assert found.parameters == sum(tensor.numel() for tensor in module.parameters())
    assert structure == "gblr" or named["encoder.layer.0.output.dense"].operator == "BlastLinear"


def test_it_exports(saved: tuple[str, nn.Module, Path], tmp_path: Path) -> None:
    result = bd.export(saved[2], path=tmp_path / "model.onnx")
    assert len(result.structured_layers) == 12
    assert {layer.operator for layer in bd.inspect(tmp_path / "model.onnx").layers} == (
        {"GblrLinear"} if saved[0] == "gblr" else {"GblrLinear", "BlastLinear"}
    )


@pytest.mark.parametrize(
    ("part", "message"), [("u_start", "starts must lie in"), ("v_width", "widths must lie in")]
)
def test_damaged_intervals_are_refused(
    saved: tuple[str, nn.Module, Path], part: str, message: str, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(saved[2], tmp_path / "copy"))
    tensors = load_file(path / "model.safetensors")
    name = "encoder.layer.1.attention.self.query"
    tensors[f"{name}.{part}"] = tensors[f"{name}.{part}"] + 100
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidInputError, match=f"layer '{name}' in .* is no GBLR layer .*{message}"):
        load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"components": -1}, "sizes that no layer has"),
        ({"values": [1, 1]}, "sizes that no layer has"),
        ({"rank": 3}, "damaged"),
    ],
)
def test_damaged_entries_are_refused(
    saved: tuple[str, nn.Module, Path], change: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(saved[2], tmp_path / "copy"))
    values = json.loads((path / "config.json").read_text())
    values["structured_layers"]["layers"]["encoder.layer.1.attention.self.query"] |= change
    (path / "config.json").write_text(json.dumps(values))
    with pytest.raises(InvalidInputError, match=message):
        load(path)


def test_a_layer_that_still_learns_is_refused_until_frozen(tiny_bert_folder: Path, tmp_path: Path) -> None:
    module = load(tiny_bert_folder)
    replace_linear(
        module,
        "encoder.layer.0.attention.self.query",
        lambda _, linear: GaudiGblrLinear(linear.in_features, linear.out_features, width=0.5),
    )
    with pytest.raises(
        InvalidInputError, match=r"'encoder.layer.0.attention.self.query' still learns .*bd.freeze"
    ):
        save(module, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    expected = module(**TOKENS).last_hidden_state
    loaded = load(save(bd.freeze(module), tmp_path / "model"))
    torch.testing.assert_close(loaded(**TOKENS).last_hidden_state, expected, rtol=1e-5, atol=1e-5)
