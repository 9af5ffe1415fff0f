"""ONNX files that mean harm are refused in one sentence, whatever they claim, before anything is written."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from portable_models import BLAST_OPSETS, chain, forcing, random_layers
from reader import bounded, check_sentence

import blast_deploy as bd
from blast_deploy.errors import InvalidInputError

Change = Callable[[onnx.ModelProto], None]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the model is to lie, in a folder of its own."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder / "model.onnx"


def refusal(file: Path) -> str:
    """What compile says of a file that it and inspect must refuse."""
    beside = file.parent.parent
    before = sorted(beside.rglob("*"))
    for read in (lambda: bd.inspect(file), lambda: bd.compile(file, forcing("body"), beside / "artifact")):
        with pytest.raises(InvalidInputError) as caught, bounded():
            read()
        check_sentence(str(caught.value))
        assert str(file) in str(caught.value)
        assert sorted(beside.rglob("*")) == before
    return str(caught.value)


def reverse(model: onnx.ModelProto) -> None:
    nodes = list(reversed(model.graph.node))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def feed_back(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]


def call_itself(model: onnx.ModelProto) -> None:
    calls = helper.make_node("Endless", ["x"], ["y"], domain="own")
    model.functions.append(helper.make_function("own", "Endless", ["x"], ["y"], [calls], BLAST_OPSETS))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node.insert(0, helper.make_node("Endless", ["x"], ["endless"], domain="own"))


def call_each_other(model: onnx.ModelProto) -> None:
    opsets = [*BLAST_OPSETS, helper.make_opsetid("own", 1)]
    for name, other in (("Ping", "Pong"), ("Pong", "Ping")):
        calls = helper.make_node(other, ["x"], ["y"], domain="own")
        model.functions.append(helper.make_function("own", name, ["x"], ["y"], [calls], opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node.insert(0, helper.make_node("Ping", ["x"], ["endless"], domain="own"))


def reach_out(tensor: TensorProto, location: str, **more: int) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))


def enlarge(tensor: TensorProto) -> None:
    tensor.dims[:] = [2**40, 2**40]


def enlarge_outside(tensor: TensorProto) -> None:
    enlarge(tensor)
    reach_out(tensor, "model.onnx")


def claim(attribute: str, size: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        next(each for each in model.graph.node[0].attribute if each.name == attribute).i = size

    return change


def hide_in_sparse(model: onnx.ModelProto) -> None:
    values, indices = TensorProto(name="sparse", data_type=1, dims=[1]), TensorProto(data_type=7, dims=[1])
    reach_out(values, "../secret.bin", length=4)
    indices.int64_data.append(0)
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=values, indices=indices, dims=[4]))


def hide_in_function(model: onnx.ModelProto) -> None:
    value = TensorProto(name="value", data_type=1, dims=[1])
    reach_out(value, "../secret.bin", length=4)
    constant = helper.make_node("Constant", [], ["unused"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(value)
    model.functions[0].node.insert(0, constant)


CHANGES: dict[str, tuple[Change, str]] = {
    "no order": (reverse, "sorted"),
    "a cycle": (feed_back, "sorted"),
    "a function that calls itself": (call_itself, "no valid ONNX model"),
    "functions that call each other": (call_each_other, "no valid ONNX model"),
    "absurd size": (lambda model: enlarge(model.graph.initializer[0]), f"must be {2**82} bytes"),
    "absurd size outside": (lambda model: enlarge_outside(model.graph.initializer[0]), f"{2**82} bytes"),
    "wide output": (claim("out_features", 2**31), "no BLAST layer"),
    "wide input": (claim("in_features", 2**31), "no BLAST layer"),
    "no input": (claim("in_features", 0), "no BLAST layer"),
    "negative output": (claim("out_features", -(2**63)), "no BLAST layer"),
    "outside, in a sparse weight": (hide_in_sparse, "outside the directory"),
    "outside, in a function": (hide_in_function, "outside its own folder"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_model_that_makes_no_sense_is_refused(file: Path, name: str) -> None:
    change, reason = CHANGES[name]
    (file.parent.parent / "secret.bin").write_bytes(bytes(64))
    model = chain(random_layers())
    change(model)
    file.write_bytes(model.SerializeToString())
    assert reason in refusal(file)


def test_few_numbers_may_mean_a_weight_that_no_memory_holds(file: Path, tmp_path: Path) -> None:
    """Rank 1 in one block: 2 MB of factors stand for 2 TB, which compiling has no need to multiply out."""
    wide = 2**19
    shapes = {"U": [1, wide, 1], "S": [1, 1, 1], "V": [1, 1, wide], "bias": [wide]}
    model = chain(random_layers()[:1])
    del model.graph.initializer[:]
    for name, dims in shapes.items():
        size = 4 * wide if wide in dims else 4
        model.graph.initializer.add(name=f"block.0.{name}", data_type=1, dims=dims, raw_data=bytes(size))
    for attribute in model.graph.node[0].attribute:
        attribute.i = wide
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[-1].dim_value = wide
    file.write_bytes(model.SerializeToString())
    assert bd.inspect(file).dense_parameters == wide * wide + wide
    with pytest.raises(InvalidInputError) as caught, bounded():
        bd.compile(file, forcing("dense"), tmp_path / "artifact")
    check_sentence(str(caught.value))
    assert sorted(tmp_path.rglob("*")) == [file.parent, file]


def secret_link(folder: Path) -> str:
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    return "link.bin"


def secret_folder(folder: Path) -> str:
    (folder / "below").symlink_to(folder.parent)
    return "below/secret.bin"


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return "pipe"


def device(folder: Path) -> str:
    (folder / "zero").symlink_to("/dev/zero")
    return "zero"


def ring(folder: Path) -> str:
    (folder / "ring").symlink_to("ring")
    return "ring"


LOCATIONS: dict[str, tuple[Callable[[Path], str], str]] = {
    "absolute": (lambda folder: str(folder.parent / "secret.bin"), "outside its own folder"),
    "parent": (lambda folder: "../secret.bin", "outside its own folder"),
    "link": (secret_link, "outside its own folder"),
    "linked folder": (secret_folder, "outside its own folder"),
    "device": (device, "outside its own folder"),
    "a device itself": (lambda folder: "/dev/zero", "outside its own folder"),
    "folder": (lambda folder: ".", "is no file"),
    "pipe": (pipe, "is no file"),
    "ring": (ring, "ring"),
    "nothing": (lambda folder: "", "model.onnx"),
    "zero byte": (lambda folder: "a\0b", "no path"),
    "too long": (lambda folder: "x" * 5000, "no path"),
}


@pytest.mark.parametrize("name", LOCATIONS)
def test_weights_that_lie_elsewhere_are_refused(file: Path, name: str) -> None:
    make, reason = LOCATIONS[name]
    (file.parent.parent / "secret.bin").write_bytes(bytes(10_000))
    model = chain(random_layers())
    reach_out(model.graph.initializer[0], make(file.parent))
    file.write_bytes(model.SerializeToString())
    assert reason in refusal(file)


class Marker:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def write_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.onnx", chain(random_layers()).SerializeToString())


FILES: dict[str, Callable[[Path], object]] = {
    "pickle": lambda file: file.write_bytes(pickle.dumps(Marker(file.parent / "run"))),
    "zip": write_zip,
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("a model, honestly\n"),
    "zeros": lambda file: file.write_bytes(bytes(100_000)),
    "folder": lambda file: file.mkdir(),
    "pipe": lambda file: os.mkfifo(file),
    "device": lambda file: file.symlink_to("/dev/zero"),
    "ring": lambda file: file.symlink_to(file.name),
    "deep": lambda file: file.write_bytes(_deep()),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_model_is_refused(file: Path, name: str) -> None:
    FILES[name](file)
    refusal(file)


def _deep() -> bytes:
    """A graph within a node within a graph, a thousand times."""
    content = b""
    for _ in range(1000):
        for field in (6, 5, 1):  # AttributeProto.g, NodeProto.attribute, GraphProto.node
            content = bytes([field << 3 | 2]) + _length(len(content)) + content
    return bytes([7 << 3 | 2]) + _length(len(content)) + content


def _length(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
