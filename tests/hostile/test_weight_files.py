"""Model folders and array files that mean harm are refused in one sentence, and run nothing."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reader import bounded, check_sentence
from test_onnx_files import Marker

import blast_deploy as bd
from blast_deploy import reference, samples
from blast_deploy.errors import InvalidInputError

MODEL_FILE = "model.safetensors"


@pytest.fixture
def folder(tiny_bert_folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "model"
    shutil.copytree(tiny_bert_folder, copy)
    return copy


def refusal(read: Callable[[], object], path: Path) -> str:
    with pytest.raises(InvalidInputError) as caught, bounded():
        read()
    check_sentence(str(caught.value))
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl"])
def test_a_pickle_is_never_read(folder: Path, name: str) -> None:
    (folder / MODEL_FILE).unlink()
    (folder / name).write_bytes(pickle.dumps(Marker(folder / "run")))
    refusal(lambda: bd.load(folder), folder)
    refusal(lambda: bd.inspect(folder), folder)
    assert not (folder / "run").exists()


@pytest.mark.parametrize("shard", ["pytorch_model.bin", "../outside.safetensors", "missing.safetensors"])
def test_an_index_leads_to_no_pickle_and_nowhere_else(folder: Path, shard: str) -> None:
    weights = folder / MODEL_FILE
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Marker(folder / "run")))
    weights.rename(folder.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": shard}}
    (folder / f"{MODEL_FILE}.index.json").write_text(json.dumps(index))
    refusal(lambda: bd.load(folder), folder)
    assert not (folder / "run").exists()


def test_the_code_of_a_folder_is_never_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    code = f"import os\nos.mkdir({str(folder / 'run')!r})\n"
    (folder / "own.py").write_text(code)
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    for kind in ("bert", "own"):
        (folder / "config.json").write_text(json.dumps(config | {"auto_map": own, "model_type": kind}))
        try:
            bd.load(folder)  # a known family loads with the code that is installed
        except InvalidInputError as error:
            check_sentence(str(error))
        assert not (folder / "run").exists()


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**27, 2**40, 2**63, 2**64 - 1])
def test_a_header_of_absurd_length_is_refused(folder: Path, length: int) -> None:
    weights = folder / MODEL_FILE
    weights.write_bytes(struct.pack("<Q", length) + weights.read_bytes()[8:])
    refusal(lambda: bd.load(folder), folder)
    refusal(lambda: bd.inspect(folder), folder)


@pytest.mark.parametrize("shape", [[2**40, 2**40], [2**63], [-1], [2**40, 0]])
def test_a_tensor_of_absurd_size_is_refused(folder: Path, shape: list[int]) -> None:
    content = (folder / MODEL_FILE).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header["embeddings.word_embeddings.weight"]["shape"] = shape
    changed = json.dumps(header).encode()
    (folder / MODEL_FILE).write_bytes(struct.pack("<Q", len(changed)) + changed + content[8 + length :])
    refusal(lambda: bd.load(folder), folder)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize("name", ["config.json", MODEL_FILE])
def test_a_file_that_is_none_is_refused(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    (folder / name).unlink()
    make(folder / name)
    refusal(lambda: bd.load(folder), folder)
    refusal(lambda: bd.inspect(folder), folder)


def write_objects(path: Path) -> None:
    np.savez(path, allow_pickle=True, x=np.array([Marker(path.with_name("run"))], dtype=object))


def declare(shape: tuple[int, ...], kind: str = "<f8") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        header = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
        member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("header.npy", member)
            archive.writestr("x.npy", member)

    return write


def write_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        header = repr({"descr": "|u1", "fortran_order": False, "shape": (2**29,)}).encode()
        member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
        for _ in range(2**9):
            member.write(bytes(2**20))


ARRAYS: dict[str, Callable[[Path], object]] = {
    "objects": write_objects,
    "2**80 numbers": declare((2**40, 2**40)),
    "2**40 numbers": declare((2**40,)),
    "2**33 numbers": declare((2**33,)),
    "a negative size": declare((-5,)),
    "wide texts": declare((1,), "<U2000000000"),
    "a bomb": write_bomb,
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Marker(path.with_name("run")))),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_mean_harm_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "arrays.npz"
    ARRAYS[name](path)
    refusal(lambda: samples.read_inputs(path), path)
    refusal(lambda: reference.load(path), path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "header",
    [
        b'{"format_version": 1, "model_sha256": "00", "samples": 1000000000000}',
        b'{"format_version": 1, "model_sha256": "00", "samples": -1}',
        b'{"format_version": 1, "model_sha256": 5, "samples": 0}',
        b'{"format_version": [], "model_sha256": "00", "samples": 0}',
        b"[" * 200_000,
        b"\xff",
    ],
)
def test_a_reference_header_that_makes_no_sense_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "model.reference.npz"
    np.savez(path, header=np.frombuffer(header, np.uint8))
    refusal(lambda: reference.load(path, "ff"), path)
