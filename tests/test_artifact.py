from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from portable_models import forcing, random_layers, write_portable

import blast_deploy as bd
from blast_deploy.artifact import decode, encode, hash_faults, open_artifact, own_files
from blast_deploy.errors import InvalidInputError, UnsupportedMachineError


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    bd.compile(write_portable(folder, random_layers()), forcing("body"), folder / "artifact")
    return folder / "artifact"


@pytest.fixture
def copy(compiled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(compiled, tmp_path / "copy")


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads((folder / "manifest.json").read_text())
    change(values)
    (folder / "manifest.json").write_text(json.dumps(values))


def test_what_is_written_is_read(compiled: Path) -> None:
    artifact = open_artifact(compiled)
    assert decode(encode(artifact.manifest), compiled) == artifact.manifest
    assert artifact.model == compiled / "model.onnx"
    assert artifact.samples.is_file()
    assert artifact.factors.is_file()
    assert hash_faults(artifact) == ()
    assert set(artifact.files("reference")) == {artifact.samples, artifact.factors}


def test_an_artifact_can_be_moved(copy: Path) -> None:
    moved = copy.rename(copy.with_name("elsewhere"))
    assert bd.verify(moved).verdict == "passed"


def test_what_is_no_artifact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no artifact folder"):
        open_artifact(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="no artifact folder"):
        open_artifact(tmp_path / "file")
    with pytest.raises(InvalidInputError, match=r"holds no manifest\.json"):
        open_artifact(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 100, -3])
def test_a_truncated_manifest_is_refused(copy: Path, kept: int) -> None:
    manifest = copy / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:kept])
    with pytest.raises(InvalidInputError, match=r"manifest\.json is damaged"):
        open_artifact(copy)


def test_a_newer_format_is_refused(copy: Path) -> None:
    edit(copy, lambda values: values.update(format_version=2, something_new=True))
    with pytest.raises(UnsupportedMachineError, match="artifact format 2, this version reads up to 1"):
        open_artifact(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("plan"), "plan"),
        (lambda values: values.update(samples="two"), r"Expected `int`, got `str` - at `\$\.samples`"),
        (lambda values: values["target"].update(wings=2), "wings"),
        (lambda values: values["files"][0].update(role="spare"), "spare"),
        (lambda values: values.pop("format_version"), "format_version"),
    ],
)
def test_a_manifest_with_wrong_content_is_refused(
    copy: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    edit(copy, change)
    with pytest.raises(InvalidInputError, match=message):
        open_artifact(copy)


@pytest.mark.parametrize("path", ["../outside.bin", "/etc/passwd", "reference/../../outside.bin"])
def test_a_file_outside_the_artifact_is_refused(copy: Path, path: str) -> None:
    edit(copy, lambda values: values["files"][0].update(path=path))
    with pytest.raises(InvalidInputError, match="outside the artifact"):
        open_artifact(copy)


def test_a_manifest_without_a_model_is_refused(copy: Path) -> None:
    def demote(values: dict[str, Any]) -> None:
        for file in values["files"]:
            file["role"] = "reference"

    edit(copy, demote)
    with pytest.raises(InvalidInputError, match="names no model file"):
        open_artifact(copy)


@pytest.mark.parametrize("name", ["model.onnx", "reference/samples.npz", "reference/factors.safetensors"])
def test_missing_and_resized_files_are_refused(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content + b"\0")
    with pytest.raises(InvalidInputError, match=rf"{name} has {len(content) + 1} bytes, the manifest says"):
        open_artifact(copy)
    (copy / name).unlink()
    with pytest.raises(InvalidInputError, match=f"{name} is missing"):
        open_artifact(copy)


@pytest.mark.parametrize("name", ["model.onnx", "reference/samples.npz", "reference/factors.safetensors"])
def test_a_wrong_header_is_refused(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[:9] = b"\xff" * 9
    (copy / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=f"{name} has no .* header"):
        open_artifact(copy)


def test_a_pipe_in_place_of_the_manifest_is_refused_and_never_waited_for(copy: Path) -> None:
    (copy / "manifest.json").unlink()
    os.mkfifo(copy / "manifest.json")
    with pytest.raises(InvalidInputError, match=r"holds no manifest\.json"):
        bd.verify(copy)
    assert own_files(copy) is None
