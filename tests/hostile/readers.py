"""Every reader of files that a stranger may have made, with a valid file for each to begin with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnx_ir as ir
from damage import damage_bytes, damage_header, damage_json, damage_message, damage_toml
from decisions import Decisions
from google.protobuf.message import DecodeError
from portable_models import forcing, random_layers, write_portable
from reader import Reader, check_sentence

import blast_deploy as bd
from blast_deploy import artifact, reference, samples, targets
from blast_deploy.checkpoints import section
from blast_deploy.errors import BlastDeployError
from blast_deploy.passes.densify import Densify
from blast_deploy.passes.inline_functions import InlineFunctions
from blast_deploy.passes.load import load_model
from blast_deploy.passes.pack_blast import PackBlast
from blast_deploy.passes.save import save_mapped
from blast_deploy.passes.taps import Taps
from blast_deploy.portable import read_portable
from blast_deploy.reporting.documents import read_documents
from blast_deploy.results import to_json

_ROOT = Path(__file__).parents[2]


@cache
def _model_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="hostile-model-"))
    write_portable(folder, random_layers(), dense=True)
    np.savez_compressed(folder / "own.npz", x=np.ones((1, 2, 19), np.float32))
    (folder / "mine.toml").write_bytes((_ROOT / "targets" / "cpu-native.toml").read_bytes())
    return folder


@cache
def _result_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="hostile-result-"))
    (folder / "verify.json").write_bytes(to_json(bd.verify(_artifact_folder())))
    return folder


@cache
def _external_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="hostile-external-"))
    proto = onnx.load(_model_folder() / "model.onnx")
    onnx.save(
        proto, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    return folder


@cache
def _artifact_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="hostile-artifact-")) / "artifact"
    bd.compile(_model_folder() / "model.onnx", forcing("body"), folder)
    return folder


@cache
def _checkpoint_folder() -> Path:
    from tiny_models import make_tiny_bert

    folder = Path(tempfile.mkdtemp(prefix="hostile-checkpoint-"))
    make_tiny_bert(folder / "dense")
    bd.compress(folder / "dense", folder / "structured", layers="encoder.layer.0.*", keep=0.5)
    return folder / "structured"


def _read_target(path: Path) -> None:
    target = targets.load_target(path)
    assert msgspec.json.decode(msgspec.json.encode(target), type=type(target)) == target


def _read_artifact(path: Path) -> None:
    opened = artifact.open_artifact(path.parent)
    again = artifact.decode(artifact.encode(opened.manifest), path)
    assert again == opened.manifest
    bd.inspect(path.parent)


def _read_reference(path: Path) -> None:
    for sample in reference.load(path).samples:
        assert all(array.dtype != object for array in (*sample.inputs.values(), *sample.outputs.values()))


def _read_samples(path: Path) -> None:
    assert samples.read_inputs(path)


def _read_checkpoint(path: Path) -> None:
    section.read(path.parent)
    bd.inspect(path.parent)
    module = bd.load(path.parent)
    assert not any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers()))


def _read_model(path: Path) -> None:
    bd.inspect(path)
    for change in _PASSES:
        model = read_portable(path)
        names = [layer.name for layer in model.layers]
        try:
            change(model.graph, names)
        except BlastDeployError as error:  # the stage knows which file it is about
            check_sentence(str(error))
            continue
        with tempfile.TemporaryDirectory() as folder:
            save_mapped(model.graph, Path(folder) / "model.onnx")
            load_model(Path(folder) / "model.onnx")


_PASSES: tuple[Callable[[ir.Model, list[str]], object], ...] = (
    lambda model, names: Densify(names)(model),
    lambda model, names: InlineFunctions(names)(model),
    lambda model, names: PackBlast(names, "x86-64")(model),
    lambda model, names: Taps()(model),
)


def _damage_model(content: bytes, decisions: Decisions) -> bytes:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ValueError from error
    damage_message(model, decisions)
    return model.SerializeToString()


READERS = {
    "target": Reader("mine.toml", _model_folder, _read_target, damage_toml),
    "manifest": Reader("manifest.json", _artifact_folder, _read_artifact, damage_json),
    "result": Reader("verify.json", _result_folder, lambda path: read_documents([path]), damage_json),
    "configuration": Reader("config.json", _checkpoint_folder, _read_checkpoint, damage_json),
    "tensors": Reader("model.safetensors", _checkpoint_folder, _read_checkpoint, damage_header),
    "reference": Reader("model.reference.npz", _model_folder, _read_reference, damage_bytes),
    "samples": Reader("own.npz", _model_folder, _read_samples, damage_bytes),
    "model": Reader("model.onnx", _model_folder, _read_model, _damage_model),
    "external": Reader("model.onnx", _external_folder, _read_model, _damage_model),
}
"""By what they read."""
