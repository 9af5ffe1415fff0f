"""Published folders that are incomplete, contradictory or hostile: one sentence each, and nothing run."""

from __future__ import annotations

import json
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from published import Published, every_layer, write_published, write_tensors
from safetensors.torch import save_file

import blast_deploy as bd
from blast_deploy.errors import InvalidInputError

NAME = "model.layers.1.mlp.up_proj"


def refusal(folder: Path) -> str:
    """The one sentence with which a folder is refused; the folder stays as it is."""
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(InvalidInputError) as caught:
        bd.load(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    message = str(caught.value)
    assert "\n" not in message
    assert ";" in message, "no remedy"
    assert str(folder) in message
    return message


def rewritten(published: Published, change: Callable[[dict[str, Any]], object]) -> Path:
    tensors = dict(published.tensors)
    change(tensors)
    write_tensors(published.folder, tensors, "safetensors")
    return published.folder


@pytest.fixture
def published(tmp_path: Path) -> Published:
    return write_published(tmp_path / "model")


class TestConfiguration:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"blast_rank": "four"}, "blast_rank .* gives 'four'"),
            ({"blast_rank": True}, "blast_rank .* gives True"),
            ({"blast_rank": 0}, "blast_rank .* gives 0"),
            ({"blast_rank": -4}, "blast_rank .* gives -4"),
            ({"blast_rank": None}, "blast_rank .* gives None"),
            ({"blast_rank": 1.5}, r"blast_rank .* gives 1\.5"),
            ({"blast_rank": math.nan}, "blast_rank .* gives nan"),
            ({"blast_rank": 2**61}, "describes no Llama model"),
            ({"blast_rank": 10**30}, "describes no Llama model"),
            ({"blast_rank": [4, 4, 4]}, r"blast_rank .* gives \[4, 4, 4\]"),
            ({"blast_rank": []}, r"blast_rank .* gives \[\]"),
            ({"blast_rank": {"q_proj": 4}}, "has no entry for 0.self_attn.k_proj"),
            ({"blast_rank": {"proj": 4, "q_proj": 3}}, r"different entries for 0\.self_attn\.q_proj"),
            ({"blast_rank": {"proj": {"proj": 4}}}, "blast_rank .* gives {'proj': 4}"),
            ({"blast_num_blocks": 0}, "blast_num_blocks .* gives 0"),
            ({"blast_num_blocks": [4, 0]}, r"blast_num_blocks .* gives \[4, 0\]"),
            ({"blast_num_blocks": [4, 4, 4]}, r"blast_num_blocks .* gives \[4, 4, 4\]"),
            ({"blast_num_blocks": 4.0}, r"blast_num_blocks .* gives 4\.0"),
            ({"blast_num_blocks": 5}, "24 x 24 into 5 x 5 blocks, which do not divide"),
            ({"blast_num_blocks": "4"}, "blast_num_blocks .* gives '4'"),
            ({"indices": "all"}, "indices in .* must be a list of int"),
            ({"indices": [True]}, "indices in .* must be a list of int"),
            ({"target_modules": "q_proj"}, "target_modules in .* must be a list of str"),
            ({"target_modules": None}, "target_modules in .* must be a list of str"),
            ({"blast_quantisation": 8}, "has a field 'blast_quantisation', .* update blast-deploy"),
            ({"quantization_config": {"bits": 4}}, "names quantised weights"),
            ({"num_hidden_layers": "two"}, "num_hidden_layers in .* is no positive number"),
            ({"num_hidden_layers": 10**9}, "asks for 1000000000 decoder layers"),
            ({"hidden_act": "unheard-of"}, "describes no Llama model"),
            ({"hidden_size": "wide"}, "describes no Llama model"),
            ({"hidden_size": 2**62}, "describes no Llama model"),
            ({"num_attention_heads": 0}, "describes no Llama model"),
            ({"rope_scaling": {"rope_type": "unheard-of"}}, "describes no Llama model"),
        ],
    )
    def test_unknown_forms(self, tmp_path: Path, fields: dict[str, Any], message: str) -> None:
        found = refusal(write_published(tmp_path / "model", **fields).folder)
        assert re.search(message, found), found
        assert "config.json" in found

    @pytest.mark.parametrize("field", ["target_modules", "blast_rank", "blast_num_blocks", "indices"])
    def test_missing_fields(self, published: Published, field: str) -> None:
        file = published.folder / "config.json"
        values = json.loads(file.read_text())
        del values[field]
        file.write_text(json.dumps(values))
        assert f"config.json has no {field}," in refusal(published.folder)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"blast_rank": 5}, r"\.B in .*model\.safetensors is \(4, 6, 4\) where .* \(4, 6, 5\)"),
            ({"blast_num_blocks": 2}, r"is \(4, 6, 4\) where config\.json asks for \(2, 12, 4\)"),
            ({"indices": [0]}, r"lack model\.layers\.1\.\S+\.weight and hold model\.layers\.1\.\S+\.B"),
            ({"target_modules": ["q_proj"]}, r"lack model\.layers\.0\.mlp\.down_proj\.weight"),
            ({"num_hidden_layers": 1}, r"weights in .* hold model\.layers\.1"),
            ({"num_hidden_layers": 3}, r"lack model\.layers\.2"),
            ({"attention_bias": True}, r"lack model\.layers\.0\.self_attn\.k_proj\.bias"),
            ({"vocab_size": 51}, r"model\.embed_tokens\.weight in .* is \(50, 24\)"),
        ],
    )
    def test_weights_that_contradict_it(self, tmp_path: Path, fields: dict[str, Any], message: str) -> None:
        found = refusal(write_published(tmp_path / "model", **fields).folder)
        assert re.search(message, found), found

    def test_absurd_nesting(self, published: Published) -> None:
        file = published.folder / "config.json"
        text = file.read_text().replace(
            '"blast_rank": {', f'"x": {"[" * 100_000}{"]" * 100_000}, "blast_rank": {{'
        )
        file.write_text(text)
        assert "config.json is no readable JSON" in refusal(published.folder)

    def test_code_that_it_names_is_not_run(self, tmp_path: Path) -> None:
        fields = {"attn_implementation": "someone/kernels", "_attn_implementation": "someone/kernels"}
        published = write_published(tmp_path / "model", **fields)
        code = published.folder / "modeling_blast.py"
        code.write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
        module = bd.load(published.folder)
        assert module.config._attn_implementation == "sdpa"
        assert module.dtype == torch.float32
        assert not (tmp_path / "ran").exists()


class TestTensors:
    @pytest.mark.parametrize("factor", ["B", "C", "D"])
    def test_missing_factor(self, published: Published, factor: str) -> None:
        folder = rewritten(published, lambda tensors: tensors.pop(f"{NAME}.{factor}"))
        assert f"lack {NAME}.{factor}," in refusal(folder)

    @pytest.mark.parametrize("name", [f"{NAME}.A", f"{NAME}.weight", f"{NAME}.bias", "model.extra", "B"])
    def test_extra_tensor(self, published: Published, name: str) -> None:
        folder = rewritten(published, lambda tensors: tensors.update({name: torch.ones(1)}))
        assert f"hold {name}," in refusal(folder)

    def test_missing_head(self, published: Published) -> None:
        assert "lack lm_head.weight" in refusal(
            rewritten(published, lambda tensors: tensors.pop("lm_head.weight"))
        )

    def test_axes_as_in_the_factorisers_files(self, tmp_path: Path) -> None:
        published = write_published(tmp_path / "model", every_layer((4, 4, 3)), blast_rank=3)

        def turn(tensors: dict[str, Any]) -> None:
            tensors[f"{NAME}.D"] = tensors[f"{NAME}.D"].permute(2, 0, 1).contiguous()

        assert f"{NAME}.D in" in refusal(rewritten(published, turn))

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("name", [f"{NAME}.B", f"{NAME}.C", f"{NAME}.D", "model.norm.weight"])
    def test_values_that_are_no_numbers(self, published: Published, name: str, value: float) -> None:
        folder = rewritten(published, lambda tensors: tensors[name].view(-1)[-1:].fill_(value))
        message = refusal(folder)
        assert message.startswith(f"{name} in {folder / 'model.safetensors'} holds NaN or infinity")

    @pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.complex64, torch.float8_e4m3fn])
    def test_other_dtypes(self, published: Published, dtype: torch.dtype) -> None:
        folder = rewritten(
            published, lambda tensors: tensors.update({f"{NAME}.D": tensors[f"{NAME}.D"].to(dtype)})
        )
        assert f"{NAME}.D in {folder / 'model.safetensors'} has {dtype}" in refusal(folder)

    def test_several_dtypes(self, published: Published) -> None:
        folder = rewritten(
            published, lambda tensors: tensors.update({f"{NAME}.D": tensors[f"{NAME}.D"].half()})
        )
        assert "save the model at one dtype" in refusal(folder)


class Payload:
    """Pickles to a call that makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


class TestFiles:
    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
    @pytest.mark.parametrize("layout", ["safetensors", "bin", "sharded bin"])
    def test_truncated_weights(self, tmp_path: Path, share: float, layout: Any) -> None:
        folder = write_published(tmp_path / "model", layout=layout).folder
        file = sorted([*folder.glob("*.bin"), *folder.glob("*.safetensors")])[-1]
        content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])
        assert str(file) in refusal(folder)

    @pytest.mark.parametrize("inside", ["alone", "as a tensor", "legacy"])
    def test_a_pickle_that_would_run_code(self, tmp_path: Path, inside: str) -> None:
        published = write_published(tmp_path / "model", layout="bin")
        file, ran = published.folder / "pytorch_model.bin", tmp_path / "ran"
        if inside == "alone":
            file.write_bytes(pickle.dumps(Payload(ran), protocol=2))
        else:
            tensors = dict(published.tensors) | {f"{NAME}.D": Payload(ran)}
            torch.save(tensors, file, _use_new_zipfile_serialization=inside == "as a tensor")
        message = refusal(published.folder)
        assert str(file) in message
        assert "could run code and is not read" in message
        assert not ran.exists()
        # The payload does what it says when it is let.
        with file.open("rb") as opened:
            pickle.load(opened) if inside == "alone" else torch.load(file, weights_only=False)
        assert ran.exists()

    @pytest.mark.parametrize(
        "value",
        [
            [torch.ones(2)],
            {"model.norm.weight": [1.0]},
            {1: torch.ones(2)},
            torch.ones(2),
            {"model.norm.weight": torch.ones(24).to_sparse()},
            {"model.norm.weight": torch.empty(24, device="meta")},
        ],
        ids=["list", "list inside", "number as name", "bare tensor", "sparse", "no data"],
    )
    def test_a_pickle_of_something_else(self, tmp_path: Path, value: object) -> None:
        folder = write_published(tmp_path / "model", layout="bin").folder
        torch.save(value, folder / "pytorch_model.bin")
        assert "pytorch_model.bin" in refusal(folder)

    def test_a_tensor_that_claims_more_than_it_holds(self, tmp_path: Path) -> None:
        published = write_published(tmp_path / "model", layout="bin")
        huge = torch.ones(1).expand(2**40)
        torch.save(dict(published.tensors) | {f"{NAME}.D": huge}, published.folder / "pytorch_model.bin")
        assert f"{NAME}.D in" in refusal(published.folder)

    @pytest.mark.parametrize("layout", ["safetensors", "bin", "sharded safetensors"])
    def test_a_name_that_a_terminal_would_obey(self, tmp_path: Path, layout: Any) -> None:
        published = write_published(tmp_path / "model", layout=layout)
        write_tensors(published.folder, dict(published.tensors) | {"a\x1b[2J\nb": torch.ones(1)}, layout)
        assert r"names a tensor 'a\x1b[2J\nb'" in refusal(published.folder)

    def test_no_weights(self, published: Published) -> None:
        (published.folder / "model.safetensors").unlink()
        assert "has neither model.safetensors nor pytorch_model.bin" in refusal(published.folder)


class TestShards:
    @pytest.mark.parametrize("layout", ["sharded safetensors", "sharded bin"])
    @pytest.mark.parametrize(
        "place",
        ["../secret.safetensors", "/tmp/secret.safetensors", "a/b", "..", "", "c:\\b", "a\0b", 7, None],
    )
    def test_an_index_that_leads_out_of_the_folder(self, tmp_path: Path, layout: Any, place: object) -> None:
        published = write_published(tmp_path / "model", layout=layout)
        save_file({f"{NAME}.B": published.tensors[f"{NAME}.B"]}, tmp_path / "secret.safetensors")
        (index,) = published.folder.glob("*.index.json")
        values = json.loads(index.read_text())
        values["weight_map"][f"{NAME}.B"] = place
        index.write_text(json.dumps(values))
        message = refusal(published.folder)
        assert f"{index} places {NAME}.B in {place!r}, which is no file name in its own folder" in message

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": [1]}', "[" * 100_000]
    )
    def test_a_damaged_index(self, tmp_path: Path, text: str) -> None:
        published = write_published(tmp_path / "model", layout="sharded safetensors")
        index = published.folder / "model.safetensors.index.json"
        index.write_text(text)
        assert str(index) in refusal(published.folder)

    def test_a_missing_shard(self, tmp_path: Path) -> None:
        folder = write_published(tmp_path / "model", layout="sharded safetensors").folder
        (folder / "model-00002-of-00002.safetensors").unlink()
        assert "names model-00002-of-00002.safetensors, which is not there" in refusal(folder)

    def test_a_shard_that_holds_other_tensors(self, tmp_path: Path) -> None:
        folder = write_published(tmp_path / "model", layout="sharded safetensors").folder
        shards = sorted(folder.glob("model-*"))
        shards[1].write_bytes(shards[0].read_bytes())
        assert "model-00002-of-00002.safetensors disagree on" in refusal(folder)

    def test_links_as_in_the_hubs_cache_are_followed(self, tmp_path: Path) -> None:
        folder = write_published(tmp_path / "model", layout="sharded safetensors").folder
        blobs = tmp_path / "blobs"
        blobs.mkdir()
        for number, shard in enumerate(sorted(folder.glob("model-*"))):
            shard.rename(blobs / str(number))
            shard.symlink_to(blobs / str(number))
        bd.load(folder)
