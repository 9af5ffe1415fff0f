"""References survive the disk and refuse what does not belong to them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from blast_deploy import reference
from blast_deploy.errors import InvalidInputError
from blast_deploy.model_paths import reference_path
from blast_deploy.reference import Reference, Sample


def two_samples() -> Reference:
    first = Sample({"ids": np.array([[1, 2]])}, {"y/z": np.array([[0.1]])}, {"y/z": np.array([[0.2]])})
    second = Sample({"ids": np.zeros((0, 3), np.int64)}, {"y/z": np.zeros((0, 1))})
    return Reference("ab" * 32, (first, second))


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "model.reference.npz"
    reference.save(two_samples(), path)
    loaded = reference.load(path, "ab" * 32)
    assert loaded.model_sha256 == "ab" * 32
    for found, expected in zip(loaded.samples, two_samples().samples, strict=True):
        for group in ("inputs", "outputs"):
            members = getattr(expected, group)
            assert getattr(found, group).keys() == members.keys()
            for name, array in members.items():
                np.testing.assert_array_equal(getattr(found, group)[name], array)
                assert getattr(found, group)[name].dtype == array.dtype
    assert loaded.samples[0].dense_outputs is not None
    assert loaded.samples[1].dense_outputs is None


def test_another_models_reference_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    reference.save(two_samples(), path)
    with pytest.raises(InvalidInputError, match="belongs to another model"):
        reference.load(path, "cd" * 32)


def test_missing_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    with pytest.raises(InvalidInputError, match="does not exist"):
        reference.load(path)
    reference.save(two_samples(), path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InvalidInputError, match="no readable reference"):
            reference.load(path)
    np.savez(path.open("wb"), something=np.zeros(3))
    with pytest.raises(InvalidInputError, match="no readable reference"):
        reference.load(path)
    for header in (b"[]", b'{"samples": "2"}', b"null"):
        np.savez(path.open("wb"), header=np.frombuffer(header, np.uint8))
        with pytest.raises(InvalidInputError, match="no readable reference"):
            reference.load(path)


def test_an_array_file_is_no_archive(tmp_path: Path) -> None:
    """NumPy reads .npy files whatever they are called, and gives another type for them."""
    np.save((tmp_path / "r.npz").open("wb"), np.zeros(3))
    with pytest.raises(ValueError, match=r"it is no \.npz file"):
        reference.read_arrays(tmp_path / "r.npz")


def test_nobody_is_told_to_unpickle(tmp_path: Path) -> None:
    (tmp_path / "r.npz").write_bytes(b"neither an archive nor an array")
    with pytest.raises(ValueError, match=r"it is no \.npz file") as caught:
        reference.read_arrays(tmp_path / "r.npz")
    assert "pickle" not in str(caught.value)
    with pytest.raises(InvalidInputError, match="no readable reference"):
        reference.load(tmp_path / "r.npz")


def test_a_damaged_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    np.savez_compressed(path, x=np.arange(1000))
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="no readable reference"):
        reference.load(path)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    np.savez(path.open("wb"), header=np.array([{"samples": 1}], dtype=object))
    with pytest.raises(InvalidInputError, match="no readable reference"):
        reference.load(path)


def test_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.npz"
    monkeypatch.setattr(reference, "FORMAT_VERSION", 99)
    reference.save(two_samples(), path)
    monkeypatch.undo()
    with pytest.raises(InvalidInputError, match="format 99"):
        reference.load(path)


def test_sha256_and_place(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"abc")
    assert reference.sha256(path) == hashlib.sha256(b"abc").hexdigest()
    assert reference_path(path) == tmp_path / "model.reference.npz"
