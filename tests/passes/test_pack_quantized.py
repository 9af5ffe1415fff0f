"""Quantised layers run in the operator library's integer kernel, with what follows them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from blast_deploy.errors import InvalidInputError
from blast_deploy.native import Library, library_path
from blast_deploy.passes.fuse_epilogues import FuseEpilogues, epilogues_of
from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.passes.pack_quantized import PackQuantized
from blast_deploy.passes.structured import structured_layers
from blast_deploy.results import Epilogue
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.contract import DOMAIN, IR_VERSION, Q_BLAST_LINEAR, Q_BLAST_LINEAR_PACKED
from blast_deploy.structures.quantized_blast import packing
from blast_deploy.structures.quantized_blast.matrix import QuantizedBlastMatrix
from blast_deploy.structures.quantized_blast.operator import function_proto
from blast_deploy.structures.quantized_blast.quantize import quantize

WIDTH = 45
GELU_AND_RESIDUAL = [helper.make_node("Gelu", ["h"], ["g"]), helper.make_node("Add", ["g", "x"], ["y"])]
X = np.random.default_rng(3).standard_normal((2, 9, WIDTH)).astype(np.float32)
BIAS = np.linspace(-1, 1, WIDTH, dtype=np.float32)


@pytest.fixture
def instruction_set() -> str:
    return Library().instruction_sets()[0]


def matrix(bits: int) -> QuantizedBlastMatrix:
    random = np.random.default_rng(0)
    shapes = ((2, 23, 40), (2, 3, 40), (3, 40, 15))
    u, s, v = (random.standard_normal(shape).astype(np.float32) / 6 for shape in shapes)
    return quantize(BlastMatrix(u, s, v, WIDTH, WIDTH), bits)


def model(weight: QuantizedBlastMatrix, following: list[onnx.NodeProto], **changed: Any) -> ir.Model:
    """x -> one layer -> h -> the nodes given -> y."""
    element = ml_dtypes.int4 if weight.bits == 4 else np.int8
    arrays: dict[str, NDArray[Any]] = {
        name: array.astype(element) if name in ("Uq", "Vq") else array
        for name, array in weight.tensors().items()
    } | {"bias": BIAS}
    attributes = {
        "in_features": WIDTH,
        "out_features": WIDTH,
        "bits": weight.bits,
        "u_block_size": weight.u_block_size,
        "v_block_size": weight.v_block_size,
        "activation": "int8",
        **changed,
    }
    names = [f"layer.{name}" for name in arrays]
    node = helper.make_node(
        Q_BLAST_LINEAR.name, ["x", *names], ["h" if following else "y"], "layer", domain=DOMAIN, **attributes
    )
    shape = ["batch", "rows", WIDTH]
    values = ["h", "g"] if following else []
    graph = helper.make_graph(
        [node, *following],
        "quantised layer",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info("y", 1, shape)],
        [numpy_helper.from_array(array, name) for name, array in zip(names, arrays.values(), strict=True)],
        value_info=[helper.make_tensor_value_info(name, 1, shape) for name in values],
    )
    opsets = [helper.make_opsetid("", Q_BLAST_LINEAR.opset), helper.make_opsetid(DOMAIN, 1)]
    proto = helper.make_model(
        graph, functions=[function_proto()], opset_imports=opsets, ir_version=IR_VERSION
    )
    read = ir.from_proto(proto)
    NameLayers()(read)
    return read


def run(packed: ir.Model) -> NDArray[Any]:
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(library_path()))
    session = onnxruntime.InferenceSession(ir.to_proto(packed).SerializeToString(), options)
    found: NDArray[Any] = session.run(None, {"x": X})[0]
    return found


@pytest.mark.parametrize("bits", [8, 4])
def test_a_packed_layer_computes_what_it_did(bits: int, instruction_set: str) -> None:
    weight = matrix(bits)
    packed = model(weight, [])
    assert PackQuantized(["layer"], instruction_set)(packed).modified
    assert structured_layers(packed) == ()
    assert not packed.functions
    truth = weight.apply(X, BIAS, "int8")
    # An inner value near a half may become either integer: a step of it is far below what a fault shows.
    np.testing.assert_allclose(run(packed), truth, atol=2e-3 * np.abs(truth).max())


def test_node_holds_what_the_contract_asks_for(instruction_set: str) -> None:
    weight = matrix(4)
    packed = model(weight, [])
    PackQuantized(["layer"], instruction_set)(packed)
    (node,) = packed.graph
    assert (node.domain, node.op_type, node.name) == (DOMAIN, Q_BLAST_LINEAR_PACKED.name, "layer")
    assert [value.name for value in node.inputs if value] == ["x", "layer.packed", "layer.bias"]
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    assert attributes == {
        "in_features": WIDTH,
        "out_features": WIDTH,
        "blocks_out": 2,
        "blocks_in": 3,
        "rank": 40,
        "bits": 4,
        "block_size": 32,
        "layout_version": packing.LAYOUT_VERSION,
        "instruction_set": instruction_set,
    }
    tensor = packed.graph.initializers["layer.packed"].const_value
    assert tensor is not None
    np.testing.assert_array_equal(tensor.numpy(), packing.pack(weight))
    assert set(packed.graph.initializers) == {"layer.packed", "layer.bias"}


def test_gelu_and_residual_are_absorbed(instruction_set: str) -> None:
    weight = matrix(8)
    packed = model(weight, GELU_AND_RESIDUAL)
    PackQuantized(["layer"], instruction_set)(packed)
    expected = run(packed)
    assert FuseEpilogues()(packed).modified
    assert [node.op_type for node in packed.graph] == [Q_BLAST_LINEAR_PACKED.name]
    assert epilogues_of(packed) == {"layer": Epilogue("gelu", residual=True)}
    np.testing.assert_allclose(run(packed), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"activation": "float"}, "'layer' has no integer kernel: it must be quantised with activation int8"),
        ({"u_block_size": 20}, "'layer' cannot be packed: there are kernels for 8 bits with one scale"),
    ],
)
def test_what_has_no_kernel_is_refused(changed: dict[str, Any], sentence: str, instruction_set: str) -> None:
    weight = matrix(8)
    if "u_block_size" in changed:
        doubled = np.repeat(weight.u_scale, 2, axis=2)
        fields = {**vars(weight), "u_scale": doubled, "u_block_size": 20}
        weight = QuantizedBlastMatrix(**fields)
    packed = model(weight, [], **changed)
    with pytest.raises(InvalidInputError, match=sentence):
        PackQuantized(["layer"], instruction_set)(packed)
    assert [layer.name for layer in structured_layers(packed)] == ["layer"]
