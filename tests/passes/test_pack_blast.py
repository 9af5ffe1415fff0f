"""Packed layers run in the operator library, and their weights are read where they lie."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import blast_models
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from blast_deploy.element_types import numpy_dtype
from blast_deploy.errors import InvalidInputError
from blast_deploy.native import Library, library_path
from blast_deploy.passes.identity import layer_ports
from blast_deploy.passes.pack_blast import PackBlast
from blast_deploy.passes.save import save_mapped
from blast_deploy.passes.structured import structured_layers
from blast_deploy.passes.taps import Taps, tap_names
from blast_deploy.structures.blast import packing
from blast_deploy.structures.contract import BLAST_LINEAR_PACKED

ALL = list(blast_models.LAYERS)


@pytest.fixture(scope="module")
def instruction_set() -> str:
    return Library().instruction_sets()[0]


def test_packed_layers_compute_what_they_did(instruction_set: str) -> None:
    model = blast_models.model()
    assert PackBlast(ALL, instruction_set)(model).modified
    assert not model.functions
    assert structured_layers(model) == ()
    entering = blast_models.x()
    found = blast_models.run(model, entering, str(library_path()))["y"]
    np.testing.assert_allclose(found, blast_models.truth(entering)["last"], rtol=1e-5, atol=1e-4)


def test_node_holds_what_the_contract_asks_for(instruction_set: str) -> None:
    model = blast_models.model()
    PackBlast(["block.first"], instruction_set)(model)
    node = model.graph[0]
    assert (node.domain, node.op_type, node.name) == ("ai.blast", "BlastLinearPacked", "block.first")
    assert [value.name for value in node.inputs if value] == ["x", "block.first.packed", "block.first.bias"]
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    assert set(attributes) == {item.name for item in BLAST_LINEAR_PACKED.attributes} - {"activation"}
    assert attributes == {
        "in_features": 7,
        "out_features": 5,
        "blocks_out": 2,
        "blocks_in": 3,
        "rank": 4,
        "layout_version": packing.LAYOUT_VERSION,
        "instruction_set": instruction_set,
        "largest_tile_rows": 70,
        "smallest_share_bytes": 400_000,
        "smallest_share_operations": 600_000,
    }
    packed = model.graph.initializers["block.first.packed"].const_value
    assert packed is not None
    read = packing.unpack(packed.numpy(), 5, 7, (2, 3), 4)
    np.testing.assert_allclose(
        read.dense(), blast_models.matrix_of("block.first").dense(), rtol=1e-6, atol=1e-7
    )
    assert "block.first.U" not in model.graph.initializers


def test_only_named_layers_change_and_stay_known(instruction_set: str) -> None:
    model = blast_models.model()
    PackBlast(["last"], instruction_set)(model)
    assert [layer.name for layer in structured_layers(model)] == ["block.first", "block.beside"]
    (port,) = layer_ports(model)
    assert (port.name, port.input, port.output.name) == ("last", "r", "y")
    assert len(model.functions) == 1


def test_packed_layers_can_be_tapped(instruction_set: str) -> None:
    model = blast_models.model()
    PackBlast(["last"], instruction_set)(model)
    Taps()(model)
    entering = blast_models.x()
    found = blast_models.run(model, entering, str(library_path()))
    truth = blast_models.truth(entering)
    before, after = tap_names("last")
    np.testing.assert_allclose(found[before], truth["r"], rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(found[after], found["y"])


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_factors_are_packed_at_their_own_type(instruction_set: str, dtype: str) -> None:
    element = numpy_dtype(dtype)
    model = blast_models.model(element)
    PackBlast(["block.first"], instruction_set)(model)
    packed = model.graph.initializers["block.first.packed"].const_value
    assert packed is not None
    assert packed.dtype.numpy() == element
    read = packing.unpack(packed.numpy(), 5, 7, (2, 3), 4)
    np.testing.assert_array_equal(read.dense(), blast_models.matrix_of("block.first", element).dense())


def test_an_unknown_layer_is_refused(instruction_set: str) -> None:
    with pytest.raises(InvalidInputError, match="no structured layer 'typo'"):
        PackBlast(["typo"], instruction_set)(blast_models.model())


MEASURE = """
import sys
import numpy, onnxruntime

def private_bytes():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024

options = onnxruntime.SessionOptions()
options.register_custom_ops_library(sys.argv[2])
options.intra_op_num_threads = 1
x = numpy.ones((1, 3000), numpy.float32)
before = private_bytes()
session = onnxruntime.InferenceSession(sys.argv[1], options)
session.run(None, {"x": x})
print(private_bytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_packed_weights_stay_in_the_file(instruction_set: str, tmp_path: Path) -> None:
    """A layer of 58 MB, opened and run by a fresh process, costs it less than a fifth of that in memory."""
    sizes = (3000, 3000, (4, 4), 2400)
    values = packing.packed_size(*sizes)
    attributes = {
        "in_features": 3000,
        "out_features": 3000,
        "blocks_out": 4,
        "blocks_in": 4,
        "rank": 2400,
        "layout_version": packing.LAYOUT_VERSION,
        "instruction_set": instruction_set,
    }
    node = helper.make_node(
        "BlastLinearPacked", ["x", "packed", "bias"], ["y"], domain="ai.blast", **attributes
    )
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", 3000])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", 3000])],
        [
            onnx.numpy_helper.from_array(np.ones(values, np.float32), "packed"),
            onnx.numpy_helper.from_array(np.ones(3000, np.float32), "bias"),
        ],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.blast", 1)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))
    path, _ = save_mapped(model, tmp_path / "model.onnx")
    command = [sys.executable, "-c", MEASURE, str(path), str(library_path())]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert values * 4 > 55e6
    assert grown < values * 4 / 5
