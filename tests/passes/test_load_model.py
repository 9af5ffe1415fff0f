"""Models from elsewhere are read with distrust."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import blast_models
import numpy as np
import onnx
import pytest

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.load import load_model
from blast_deploy.passes.structured import structured_layers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model whose factors lie in ``weights.bin`` beside it."""
    path = tmp_path / "folder" / "model.onnx"
    path.parent.mkdir()
    onnx.save(
        blast_models.proto(), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    return path


def edit(file: Path, change: Callable[[onnx.TensorProto], None]) -> None:
    proto = onnx.load(file, load_external_data=False)
    change(proto.graph.initializer[0])
    file.write_bytes(proto.SerializeToString())


def set_entry(tensor: onnx.TensorProto, key: str, value: str) -> None:
    next(entry for entry in tensor.external_data if entry.key == key).value = value


def test_external_weights_are_read(file: Path) -> None:
    layer = structured_layers(load_model(str(file)))[0]
    np.testing.assert_array_equal(layer.matrix().u, blast_models.matrix_of("block.first").u)


def test_data_may_lie_in_a_folder_below(file: Path) -> None:
    (file.parent / "below").mkdir()
    (file.parent / "weights.bin").rename(file.parent / "below" / "weights.bin")
    proto = onnx.load(file, load_external_data=False)
    for tensor in proto.graph.initializer:
        set_entry(tensor, "location", "below/weights.bin")
    file.write_bytes(proto.SerializeToString())
    assert structured_layers(load_model(file))[0].matrix().u.shape == (2, 3, 4)


@pytest.mark.parametrize("escape", ["../secret.bin", "below/../../secret.bin", "absolute"])
def test_data_outside_the_folder_is_refused(file: Path, escape: str) -> None:
    secret = file.parent.parent / "secret.bin"
    secret.write_bytes(bytes(10_000))
    location = str(secret) if escape == "absolute" else escape
    edit(file, lambda tensor: set_entry(tensor, "location", location))
    with pytest.raises(InvalidInputError, match="outside its own folder"):
        load_model(file)


def test_a_link_out_of_the_folder_is_refused(file: Path) -> None:
    data = file.parent / "weights.bin"
    data.rename(file.parent.parent / "elsewhere.bin")
    data.symlink_to(file.parent.parent / "elsewhere.bin")
    with pytest.raises(InvalidInputError, match="outside its own folder"):
        load_model(file)


def test_data_of_a_constant_node_is_checked_too(file: Path) -> None:
    proto = onnx.load(file, load_external_data=False)
    tensor = proto.graph.initializer.pop(0)
    set_entry(tensor, "location", "../secret.bin")
    proto.graph.node.insert(0, onnx.helper.make_node("Constant", [], [tensor.name], value=tensor))
    file.write_bytes(proto.SerializeToString())
    with pytest.raises(InvalidInputError, match="outside its own folder"):
        load_model(file)


def test_missing_and_truncated_data_are_refused(file: Path) -> None:
    data = file.parent / "weights.bin"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(InvalidInputError, match=r"has only .* and is cut short"):
        load_model(file)
    data.unlink()
    with pytest.raises(InvalidInputError, match=r"needs weights\.bin beside it, which is missing"):
        load_model(file)


@pytest.mark.parametrize(("key", "value"), [("length", "4"), ("length", "100000"), ("offset", "-8")])
def test_wrong_sizes_are_refused(file: Path, key: str, value: str) -> None:
    edit(file, lambda tensor: set_entry(tensor, key, value))
    with pytest.raises(InvalidInputError, match=r"must be 96 bytes of weights.bin|no readable ONNX model"):
        load_model(file)


def test_wrong_embedded_size_is_refused(file: Path) -> None:
    proto = blast_models.proto()
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-4]
    file.write_bytes(proto.SerializeToString())
    with pytest.raises(InvalidInputError, match=r"must be 96 bytes \(got 92\)"):
        load_model(file)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = blast_models.proto().SerializeToString()
    file = tmp_path / "model.onnx"
    for length in range(0, len(whole) // 3, 7):
        file.write_bytes(whole[:length])
        with pytest.raises(InvalidInputError, match=r"no readable ONNX model|may be cut short"):
            load_model(file)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        load_model(tmp_path / "none.onnx")
    with pytest.raises(InvalidInputError, match="does not exist"):
        load_model(tmp_path)
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    with pytest.raises(InvalidInputError, match="no readable ONNX model"):
        load_model(text)
