from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from blast_deploy.compression.finished import FinishedLayers
from blast_deploy.errors import DiskFullError, InvalidInputError
from blast_deploy.structures.blast.matrix import BlastMatrix


def matrix(dtype: type[np.floating] = np.float32) -> BlastMatrix:
    random = np.random.default_rng(0)
    factors = (random.normal(size=shape).astype(dtype) for shape in ((2, 3, 4), (2, 3, 4), (3, 4, 2)))
    return BlastMatrix(*factors, 5, 6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_kept_layer_comes_back_bit_exact(tmp_path: Path, dtype: type[np.floating]) -> None:
    FinishedLayers(tmp_path / "work", "a").put(7, matrix(dtype), 1.5)
    found = FinishedLayers(tmp_path / "work", "a").get(7, 5, 6)
    assert found is not None
    kept, seconds = found
    assert seconds == 1.5
    for before, after in zip(
        (matrix(dtype).u, matrix(dtype).s, matrix(dtype).v), (kept.u, kept.s, kept.v), strict=True
    ):
        assert after.dtype == dtype
        assert np.array_equal(before, after)
    assert FinishedLayers(tmp_path / "work", "a").get(8, 5, 6) is None


def test_another_fingerprint_starts_anew(tmp_path: Path) -> None:
    FinishedLayers(tmp_path / "work", "a").put(0, matrix(), 1.0)
    assert FinishedLayers(tmp_path / "work", "b").get(0, 5, 6) is None
    assert FinishedLayers(tmp_path / "work", "a").get(0, 5, 6) is None


def test_a_torn_file_counts_as_not_there(tmp_path: Path) -> None:
    work = FinishedLayers(tmp_path / "work", "a")
    work.put(0, matrix(), 1.0)
    (file,) = (tmp_path / "work").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-10])
    assert work.get(0, 5, 6) is None


def test_removal(tmp_path: Path) -> None:
    work = FinishedLayers(tmp_path / "work", "a")
    work.remove(keep_if_used=True)
    assert not (tmp_path / "work").exists()
    work = FinishedLayers(tmp_path / "work", "a")
    work.put(0, matrix(), 1.0)
    work.remove(keep_if_used=True)
    assert work.get(0, 5, 6) is not None
    work.remove()
    assert not (tmp_path / "work").exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match=r"cannot be kept in .*; choose another output"):
        FinishedLayers(tmp_path / "file" / "work", "a")


def test_a_folder_in_use_is_refused_until_its_run_ends(tmp_path: Path) -> None:
    work = FinishedLayers(tmp_path / "work", "a")
    work.put(0, matrix(), 1.0)
    for fingerprint in ("a", "b"):
        with pytest.raises(InvalidInputError, match=r"another run is using .*work"):
            FinishedLayers(tmp_path / "work", fingerprint)
    assert work.get(0, 5, 6) is not None
    work.remove(keep_if_used=True)
    assert FinishedLayers(tmp_path / "work", "a").get(0, 5, 6) is not None


def test_a_folder_that_was_not_made_here_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    mine = tmp_path / "work" / "mine.txt"
    mine.write_text("mine")
    with pytest.raises(InvalidInputError, match=r"work holds mine\.txt, so it was not made here"):
        FinishedLayers(tmp_path / "work", "a")
    assert mine.read_text() == "mine"


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    work = FinishedLayers(tmp_path / "work", "a")
    monkeypatch.setattr("blast_deploy.compression.finished.save_file", full)
    with pytest.raises(DiskFullError, match="the disk is full"):
        work.put(0, matrix(), 1.0)
