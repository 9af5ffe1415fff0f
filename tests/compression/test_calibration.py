from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blast_deploy.compression.calibration import read
from blast_deploy.errors import InvalidInputError


def test_text_is_tokenized_in_batches_of_similar_length(tiny_bert_folder: Path, tiny_text: Path) -> None:
    calibration = read(tiny_text, tiny_bert_folder)
    masks = [batch["attention_mask"] for batch in calibration.batches]
    assert sum(len(mask) for mask in masks) == 40
    assert masks[0].shape[1] <= masks[1].shape[1]
    for batch in calibration.batches:
        assert set(batch) == {"input_ids", "attention_mask", "token_type_ids"}
        assert batch["input_ids"].dtype == torch.int64


def test_text_is_cut_to_what_the_model_takes(tiny_bert_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("the red bird " * 100)
    (batch,) = read(tmp_path / "long.txt", tiny_bert_folder).batches
    assert batch["input_ids"].shape == (1, 48)


def test_arrays_come_in_batches(tmp_path: Path) -> None:
    x, flags = np.arange(140.0).reshape(70, 2), np.arange(70)
    np.savez(tmp_path / "inputs.npz", x=x, flags=flags)
    batches = read(tmp_path / "inputs.npz", None).batches
    assert len(batches) == 3
    assert np.array_equal(np.concatenate([batch["x"].numpy() for batch in batches]), x)
    assert np.array_equal(np.concatenate([batch["flags"].numpy() for batch in batches]), flags)


def test_mappings_are_taken_as_they_are() -> None:
    given = [{"x": np.ones(3)}, {"x": torch.zeros(2, 2)}]
    batches = read(iter(given), None).batches
    assert torch.equal(batches[0]["x"], torch.ones(3, dtype=torch.float64))
    assert torch.equal(batches[1]["x"], torch.zeros(2, 2))


def test_hash_tells_values_names_and_shapes_apart() -> None:
    hashes = {
        read([batch], None).sha256
        for batch in (
            {"x": torch.zeros(4)},
            {"x": torch.ones(4)},
            {"y": torch.zeros(4)},
            {"x": torch.zeros(2, 2)},
        )
    }
    assert len(hashes) == 4
    assert read([{"x": torch.zeros(4)}], None).sha256 in hashes


class TestBadInput:
    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInputError, match=r"nowhere\.txt does not exist"):
            read(tmp_path / "nowhere.txt", None)

    @pytest.mark.parametrize("text", ["", "\n \n"])
    def test_empty_text(self, tmp_path: Path, tiny_bert_folder: Path, text: str) -> None:
        (tmp_path / "empty.txt").write_text(text)
        with pytest.raises(InvalidInputError, match="calibration data is empty"):
            read(tmp_path / "empty.txt", tiny_bert_folder)

    def test_no_mappings(self) -> None:
        with pytest.raises(InvalidInputError, match="calibration data is empty"):
            read([], None)

    def test_text_without_a_tokenizer(self, tiny_text: Path, tmp_path: Path) -> None:
        with pytest.raises(InvalidInputError, match="a bare module has no tokenizer"):
            read(tiny_text, None)
        with pytest.raises(InvalidInputError, match="has no usable tokenizer"):
            read(tiny_text, tmp_path)

    def test_text_that_is_none(self, tmp_path: Path, tiny_bert_folder: Path) -> None:
        (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x01")
        with pytest.raises(InvalidInputError, match="no UTF-8 text"):
            read(tmp_path / "binary.txt", tiny_bert_folder)

    @pytest.mark.parametrize("content", [b"", b"no zip file", b"PK\x03\x04 torn"])
    def test_damaged_arrays(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "inputs.npz").write_bytes(content)
        with pytest.raises(InvalidInputError, match=r"no readable \.npz file"):
            read(tmp_path / "inputs.npz", None)

    def test_pickled_arrays_are_not_run(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "inputs.npz", x=np.array([{"an": "object"}], dtype=object))
        with pytest.raises(InvalidInputError, match=r"no readable \.npz file"):
            read(tmp_path / "inputs.npz", None)

    @pytest.mark.parametrize(
        "arrays", [{"x": np.ones((2, 3)), "y": np.ones(3)}, {"x": np.ones(())}, {"x": np.ones((0, 2))}]
    )
    def test_arrays_without_a_common_batch_axis(self, tmp_path: Path, arrays: dict[str, Any]) -> None:
        np.savez(tmp_path / "inputs.npz", **arrays)
        with pytest.raises(InvalidInputError, match="must share a leading batch axis"):
            read(tmp_path / "inputs.npz", None)

    def test_things_that_are_no_mappings(self) -> None:
        wrong: Any = [torch.ones(2)]
        with pytest.raises(InvalidInputError, match=r"must be mappings .* \(got Tensor\)"):
            read(wrong, None)

    def test_values_that_are_no_arrays(self) -> None:
        with pytest.raises(InvalidInputError, match="must be arrays"):
            read([{"x": "text"}], None)
