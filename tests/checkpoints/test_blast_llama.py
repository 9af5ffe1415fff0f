"""Published blast_llama folders against the published formula in float64."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published import (
    TARGETS,
    Layout,
    Published,
    Shape,
    every_layer,
    forward,
    layer_name,
    write_published,
    write_tensors,
)
from typer.testing import CliRunner

import blast_deploy as bd
from blast_deploy.cli import app
from blast_deploy.errors import InvalidInputError

TOKENS = torch.tensor([[3, 7, 1, 9, 30], [4, 4, 8, 2, 11]])
LAYOUTS: tuple[Layout, ...] = ("safetensors", "sharded safetensors", "bin", "sharded bin")


def check(published: Published) -> torch.nn.Module:
    """Load a folder, and compare its layers bit for bit and its function with the published formula's."""
    module = bd.load(published.folder)
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, bd.BlastLinear)}
    assert set(layers) == set(published.layers)
    for name, layer in layers.items():
        assert (*layer.blocks, layer.rank) == published.layers[name]
        for ours, theirs in (("U", "B"), ("S", "D"), ("V", "C")):
            assert torch.equal(getattr(layer, ours), published.factor(name, theirs)), (name, ours)
    for name, tensor in module.state_dict().items():
        if f"{published.prefix}{name}" in published.tensors:
            assert torch.equal(tensor, published.tensors[f"{published.prefix}{name}"]), name
    precise = copy.deepcopy(module).double()
    for name in layers:
        weight = precise.get_submodule(name).dense_weight().numpy()
        np.testing.assert_allclose(weight, published.weight(name), rtol=0, atol=1e-13)
    with torch.no_grad():
        hidden = precise(input_ids=TOKENS).last_hidden_state
    # Norms and positions are computed in float32 inside.
    torch.testing.assert_close(hidden, published.hidden(TOKENS), rtol=1e-5, atol=1e-6)
    return module


@pytest.mark.parametrize(
    ("dtype", "layout"),
    [
        *[(torch.float32, layout) for layout in LAYOUTS],
        *[(dtype, "safetensors") for dtype in (torch.float16, torch.bfloat16, torch.float64)],
        (torch.float16, "sharded bin"),
        (torch.bfloat16, "sharded bin"),
    ],
)
def test_every_dtype_and_file_layout(tmp_path: Path, dtype: torch.dtype, layout: Layout) -> None:
    module = check(write_published(tmp_path / "model", dtype=dtype, layout=layout))
    assert {tensor.dtype for tensor in module.state_dict().values()} == {dtype}
    assert module.config.dtype == dtype
    assert type(module).__name__ == "LlamaModel"
    assert not module.training


def test_one_layer_computes_the_published_forward_pass(tmp_path: Path) -> None:
    shapes = every_layer((4, 2, 3))
    published = write_published(
        tmp_path / "model", shapes, blast_num_blocks=[[4, 2]], blast_rank=3, bias=True
    )
    module = check(published)
    name = layer_name(1, "up_proj")
    b, c, d, bias = (published.factor(name, each).double().numpy() for each in ("B", "C", "D", "bias"))
    x = np.random.default_rng(4).normal(size=(6, 24))
    found = module.get_submodule(name).double()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, forward(x, b, c, d) + bias, rtol=0, atol=1e-13)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_head_is_left_out(tmp_path: Path, tied: bool, layout: Layout) -> None:
    module = check(write_published(tmp_path / "model", tied=tied, layout=layout))
    assert not any("lm_head" in name for name in module.state_dict())


def test_a_decoder_saved_without_head(tmp_path: Path) -> None:
    check(write_published(tmp_path / "model", head=False))


def mixed(module: str) -> Shape:
    return {"q_proj": (4, 4, 3), "down_proj": (2, 4, 5)}.get(module, (4, 4, 2))


@pytest.mark.parametrize(
    ("shapes", "fields"),
    [
        pytest.param((4, 4, 4), {"blast_num_blocks": 4}, id="a number"),
        pytest.param((4, 4, 4), {"blast_num_blocks": [[[4]]]}, id="a number after three saves"),
        pytest.param((4, 2, 4), {"blast_num_blocks": [4, 2]}, id="a pair"),
        pytest.param((4, 2, 4), {"blast_num_blocks": [[4, 2]]}, id="a pair after one save"),
        pytest.param((4, 2, 4), {"blast_num_blocks": [[[[4, 2]]]]}, id="a pair after three saves"),
        pytest.param((4, 2, 4), {"blast_num_blocks": [[4], [2]]}, id="a pair of lists"),
        pytest.param((4, 4, 7), {"blast_rank": 7}, id="one rank"),
        pytest.param((4, 4, 7), {"blast_rank": [7]}, id="one rank in a list"),
        pytest.param((4, 4, 4), {"indices": list(range(32))}, id="indices past the model"),
    ],
)
def test_forms_that_hold_for_all_layers(tmp_path: Path, shapes: Shape, fields: dict[str, Any]) -> None:
    check(write_published(tmp_path / "model", every_layer(shapes), **fields))


def test_ranks_and_blocks_by_module(tmp_path: Path) -> None:
    shapes = {layer_name(n, module): mixed(module) for n in range(2) for module in TARGETS}
    ranks = {module: mixed(module)[2] for module in TARGETS}
    blocks = [{module: list(mixed(module)[:2]) for module in TARGETS}]
    check(write_published(tmp_path / "model", shapes, blast_rank=ranks, blast_num_blocks=blocks))


def test_ranks_and_blocks_by_layer(tmp_path: Path) -> None:
    by_layer = [(4, 4, 3), (2, 2, 5), (4, 2, 1)]
    shapes = {layer_name(n, module): by_layer[n] for n in range(3) for module in TARGETS}
    fields = {"blast_rank": [3, 5, 1], "blast_num_blocks": [[4, 2, [4, 2]]]}
    check(write_published(tmp_path / "model", shapes, layers=3, **fields))


def test_a_rank_as_a_fraction_of_the_smaller_side(tmp_path: Path) -> None:
    shapes = {
        layer_name(n, module): (4, 4, 6 if module in ("k_proj", "v_proj") else 12)
        for n in range(2)
        for module in TARGETS
    }
    check(write_published(tmp_path / "model", shapes, blast_rank=0.5))


def test_only_the_named_modules_of_the_indexed_layers_are_structured(tmp_path: Path) -> None:
    shapes = {layer_name(n, module): (4, 4, 4) for n in (0, 2) for module in ("q_proj", "down_proj")}
    fields = {"indices": [0, 2], "target_modules": ["q_proj", "down_proj"], "blast_rank": 4}
    check(write_published(tmp_path / "model", shapes, layers=3, **fields))


def test_a_part_of_a_name_can_name_many_modules(tmp_path: Path) -> None:
    shapes = {
        name: shape
        for name, shape in every_layer((4, 4, 4)).items()
        if "self_attn" in name or name == "layers.1.mlp.up_proj"
    }
    fields = {"target_modules": ["self_attn", "1.mlp.up"], "blast_rank": {"attn": 4, "up": 4}}
    check(write_published(tmp_path / "model", shapes, **fields))


def test_nothing_is_structured_without_indices(tmp_path: Path) -> None:
    check(write_published(tmp_path / "model", {}, indices=[]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_conversion_to_our_folder_keeps_the_function(tmp_path: Path, dtype: torch.dtype) -> None:
    published = write_published(tmp_path / "model", dtype=dtype, bias=True)
    module = bd.load(published.folder)
    ours = bd.save(module, tmp_path / "ours")
    again = bd.load(ours)
    before, after = module.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with torch.no_grad():
        hidden = [each(input_ids=TOKENS).last_hidden_state for each in (module, again)]
    assert torch.equal(*hidden)
    saved = json.loads((ours / "config.json").read_text())
    assert saved["model_type"] == "llama"
    assert not [name for name in saved if name.startswith(("blast_", "auto_map"))]


def test_positions_are_scaled_as_the_configuration_says(tmp_path: Path) -> None:
    plain = bd.load(write_published(tmp_path / "plain").folder)
    scaling = {"type": "linear", "factor": 4.0}
    scaled = bd.load(write_published(tmp_path / "scaled", rope_scaling=scaling, rope_theta=500.0).folder)
    exponents = torch.arange(0, 6, 2) / 6
    torch.testing.assert_close(plain.rotary_emb.inv_freq, 10000.0**-exponents)
    torch.testing.assert_close(scaled.rotary_emb.inv_freq, 500.0**-exponents / 4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inspection_shows_the_layers(tmp_path: Path, layout: Layout) -> None:
    published = write_published(
        tmp_path / "model", every_layer((4, 2, 3)), layout=layout, blast_num_blocks=[[4, 2]], blast_rank=3
    )
    found = bd.inspect(published.folder)
    assert {layer.name for layer in found.layers} == set(published.layers)
    assert {layer.description for layer in found.layers} == {"4 x 2 blocks of rank 3"}
    assert found.parameters == sum(tensor.numel() for tensor in published.tensors.values())
    assert found.facts["family"] == "blast_llama"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", ["safetensors", "bin"])
def test_inspection_from_the_command_line(tmp_path: Path, layout: Layout, dtype: torch.dtype) -> None:
    folder = write_published(tmp_path / "model", layout=layout, dtype=dtype).folder
    result = CliRunner().invoke(app, ["inspect", str(folder), "--json", str(tmp_path / "found.json")])
    assert result.exit_code == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found["layers"]) == 14
    assert {layer["dtype"] for layer in found["layers"]} == {str(dtype).removeprefix("torch.")}


@pytest.mark.parametrize(
    ("layout", "expected"),
    [("safetensors", "14 layers"), ("bin", "torch is not installed, and this needs it")],
)
def test_inspection_without_torch(tmp_path: Path, layout: Layout, expected: str) -> None:
    folder = write_published(tmp_path / "model", layout=layout).folder
    code = (
        "import sys; sys.modules['torch'] = None; import blast_deploy as bd; "
        f"print(len(bd.inspect({str(folder)!r}).layers), 'layers')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert expected in run.stdout + run.stderr


@pytest.mark.parametrize("name", ["B", "C", "D"])
def test_inspection_refuses_factors_that_make_no_layer(tmp_path: Path, name: str) -> None:
    published = write_published(tmp_path / "model")
    tensors = dict(published.tensors)
    del tensors[f"model.{layer_name(1, 'up_proj')}.{name}"]
    write_tensors(published.folder, tensors, "safetensors")
    with pytest.raises(InvalidInputError, match=r"layers\.1\.mlp\.up_proj in .* make no layer; copy"):
        bd.inspect(published.folder)


def test_the_folder_is_only_read(tmp_path: Path) -> None:
    folder = write_published(tmp_path / "model", layout="sharded bin").folder
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    bd.load(folder)
    bd.inspect(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_the_weights_do_not_hang_on_the_files(tmp_path: Path) -> None:
    published = write_published(tmp_path / "model", layout="bin")
    module = bd.load(published.folder)
    file = published.folder / "pytorch_model.bin"
    with file.open("r+b") as opened:
        opened.write(bytes(file.stat().st_size))
    for name in published.layers:
        assert torch.equal(module.get_submodule(name).U, published.factor(name, "B"))


def test_whole_export_is_still_refused(tmp_path: Path) -> None:
    folder = write_published(tmp_path / "model").folder
    with pytest.raises(InvalidInputError, match="'llama' are not supported; supported: bert"):
        bd.export(folder, path=tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
