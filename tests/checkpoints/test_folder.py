from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from blast_deploy.checkpoints.folder import dense_reference, load, save
from blast_deploy.errors import InvalidInputError, OutputExistsError
from blast_deploy.model_paths import reference_path
from blast_deploy.reference import Reference, Sample
from blast_deploy.structures.blast.module import BlastLinear, replace_linear


def structured(folder: Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    module = load(folder)
    torch.manual_seed(3)
    replace_linear(
        module,
        "encoder.layer.*",
        lambda name, linear: BlastLinear(
            linear.in_features, linear.out_features, blocks=(4, 3), rank=7, bias=linear.bias is not None
        ),
    )
    return module.to(dtype)


@pytest.fixture(scope="module")
def structured_folder(tiny_bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("structured") / "model"
    return save(structured(tiny_bert_folder), path, tokenizer=tiny_bert_folder)


@pytest.fixture
def copy(structured_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(structured_folder, tmp_path / "copy"))


def tokens() -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor([[2, 9, 17, 3], [2, 30, 3, 0]])}


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "config.json"
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_structured_round_trip_is_bit_exact(
    tiny_bert_folder: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    module = structured(tiny_bert_folder, dtype)
    save(module, tmp_path / "model")
    loaded = load(tmp_path / "model")
    before, after = module.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].dtype == dtype
        assert torch.equal(tensor, after[name]), name
    assert not loaded.training
    layers = [layer for layer in loaded.modules() if isinstance(layer, BlastLinear)]
    assert len(layers) == 12
    assert {layer.blocks for layer in layers} == {(4, 3)}


def test_outputs_and_a_second_round_are_the_same(structured_folder: Path, tmp_path: Path) -> None:
    loaded = load(structured_folder)
    again = load(save(loaded, tmp_path / "again"))
    with torch.no_grad():
        assert torch.equal(loaded(**tokens()).last_hidden_state, again(**tokens()).last_hidden_state)
    files = [(folder / "config.json").read_text() for folder in (structured_folder, tmp_path / "again")]
    assert files[0] == files[1]


def test_dense_folder_loads_as_transformers_loads_it(tiny_bert_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModel

    expected = AutoModel.from_pretrained(tiny_bert_folder, local_files_only=True).state_dict()
    for path in (tiny_bert_folder, save(load(tiny_bert_folder), tmp_path / "dense")):
        found = load(path).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert "structured_layers" not in json.loads((tmp_path / "dense" / "config.json").read_text())


def test_loading_leaves_torch_and_transformers_settings_alone(structured_folder: Path) -> None:
    from transformers.utils import logging

    state, verbosity = torch.random.get_rng_state(), logging.get_verbosity()
    load(structured_folder)
    assert torch.equal(state, torch.random.get_rng_state())
    assert logging.get_verbosity() == verbosity
    assert logging.is_progress_bar_enabled()


def test_tokenizer_files_come_along(structured_folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(structured_folder, local_files_only=True)
    assert len(tokenizer("the red bird").input_ids) == 5


def test_dense_reference_comes_back(tiny_bert_folder: Path, tmp_path: Path) -> None:
    sample = Sample({"input_ids": np.ones((1, 2), np.int64)}, {"last_hidden_state": np.ones((1, 2, 3))})
    save(load(tiny_bert_folder), tmp_path / "model", dense=Reference("ab" * 32, (sample,)))
    found = dense_reference(tmp_path / "model")
    assert found is not None
    assert found.model_sha256 == "ab" * 32
    assert np.array_equal(found.samples[0].outputs["last_hidden_state"], np.ones((1, 2, 3)))
    assert dense_reference(tiny_bert_folder) is None
    assert reference_path(tmp_path / "dense.onnx") == tmp_path / "dense.reference.npz"


def test_tensors_that_share_memory_are_stored(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=2, intermediate_size=8)
    config.vocab_size = 12
    module = BertModel(config)
    module.encoder.layer[1].output.dense.weight = module.encoder.layer[0].output.dense.weight
    loaded = load(save(module, tmp_path / "model"))
    expected = module.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


def test_existing_folder_needs_force(tiny_bert_folder: Path, tmp_path: Path) -> None:
    module = load(tiny_bert_folder)
    save(module, tmp_path / "model")
    with pytest.raises(OutputExistsError):
        save(module, tmp_path / "model")
    save(module, tmp_path / "model", force=True)


def test_force_replaces_only_what_was_saved_here(tiny_bert_folder: Path, tmp_path: Path) -> None:
    module = load(tiny_bert_folder)
    original = Path(shutil.copytree(tiny_bert_folder, tmp_path / "original"))
    with pytest.raises(OutputExistsError, match="was not made here and is not replaced even with force"):
        save(module, original, force=True)
    save(module, tmp_path / "model")
    (tmp_path / "model" / "training.log").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"holds training\.log"):
        save(module, tmp_path / "model", force=True)
    assert (tmp_path / "model" / "training.log").read_text() == "mine"


def test_bare_module_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="Linear has no Hugging Face configuration"):
        save(nn.Linear(2, 2), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


class TestBadFolders:
    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInputError, match="is no folder"):
            load(tmp_path / "nowhere")

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
    def test_missing_file(self, copy: Path, name: str) -> None:
        (copy / name).unlink()
        with pytest.raises(InvalidInputError, match=f"has no {name}"):
            load(copy)

    def test_pickle_is_refused(self, copy: Path) -> None:
        (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
        with pytest.raises(InvalidInputError, match=r"pytorch_model\.bin, a pickle, .* convert"):
            load(copy)

    @pytest.mark.parametrize("text", ["", "{", "[1]", '{"structured_layers": 3}', "null"])
    def test_damaged_configuration(self, copy: Path, text: str) -> None:
        (copy / "config.json").write_text(text)
        with pytest.raises(InvalidInputError, match=r"config\.json"):
            load(copy)

    def test_configuration_that_is_no_text(self, copy: Path) -> None:
        (copy / "config.json").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InvalidInputError, match="no readable JSON"):
            load(copy)

    @pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
    @pytest.mark.parametrize("dense", [True, False])
    def test_truncated_weights(
        self, copy: Path, tiny_bert_folder: Path, tmp_path: Path, share: float, dense: bool
    ) -> None:
        folder = Path(shutil.copytree(tiny_bert_folder, tmp_path / "dense")) if dense else copy
        file = folder / "model.safetensors"
        content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InvalidInputError, match="could not be loaded"):
            load(folder)

    @pytest.mark.parametrize("dense", [True, False])
    def test_missing_tensor(self, copy: Path, tiny_bert_folder: Path, tmp_path: Path, dense: bool) -> None:
        from safetensors.torch import load_file, save_file

        folder = Path(shutil.copytree(tiny_bert_folder, tmp_path / "dense")) if dense else copy
        tensors = load_file(folder / "model.safetensors")
        del tensors["encoder.layer.1.output.dense.bias"]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(InvalidInputError, match=r"1 tensors .*encoder\.layer\.1\.output\.dense\.bias"):
            load(folder)

    @pytest.mark.parametrize("dense", [True, False])
    @pytest.mark.parametrize("model_type", ["unheard-of", None, 7, ["bert"]])
    def test_code_in_the_folder_is_not_run(
        self,
        copy: Path,
        tiny_bert_folder: Path,
        tmp_path: Path,
        dense: bool,
        model_type: object,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        folder = Path(shutil.copytree(tiny_bert_folder, tmp_path / "dense")) if dense else copy
        (folder / "mine.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
        names = {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}
        edit(folder, lambda values: values.update(auto_map=names, model_type=model_type))
        # What transformers asks is answered with yes.
        monkeypatch.setattr("builtins.input", lambda *_: "y")
        with pytest.raises(InvalidInputError, match="needs code of its own, which is never run"):
            load(folder)
        assert not (tmp_path / "ran").exists()

    def test_newer_format(self, copy: Path) -> None:
        edit(copy, lambda values: values["structured_layers"].update(format_version=3, unheard="of"))
        with pytest.raises(InvalidInputError, match="format 3 and this version reads up to 2; update"):
            load(copy)

    def test_unknown_structure(self, copy: Path) -> None:
        edit(copy, lambda values: values["structured_layers"].update(structure="butterfly"))
        with pytest.raises(
            InvalidInputError, match="'butterfly'; this version supports blast, gblr and mixed"
        ):
            load(copy)

    def test_unknown_layer(self, copy: Path) -> None:
        edit(
            copy,
            lambda values: values["structured_layers"]["layers"].update(
                {
                    "encoder.layer.9": {
                        "out_features": 1,
                        "in_features": 1,
                        "blocks": [1, 1],
                        "rank": 1,
                        "bias": True,
                    }
                }
            ),
        )
        with pytest.raises(InvalidInputError, match=r"'encoder\.layer\.9' that the model does not have"):
            load(copy)

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("rank", 8, "do not fit"),
            ("rank", 0, "must be positive"),
            ("rank", "seven", "damaged"),
            ("blocks", [4], "damaged"),
            ("bias", False, "do not fit"),
            ("in_features", 37, "the model has it as"),
        ],
    )
    def test_layer_that_does_not_fit(self, copy: Path, field: str, value: object, message: str) -> None:
        name = "encoder.layer.0.output.dense"
        edit(copy, lambda values: values["structured_layers"]["layers"][name].update({field: value}))
        with pytest.raises(InvalidInputError, match=message):
            load(copy)
