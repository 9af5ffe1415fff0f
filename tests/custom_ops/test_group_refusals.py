"""Groups of layers that a damaged file describes, in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import blast_deploy as bd
from blast_deploy.native import Library
from blast_deploy.structures.blast.packing import LAYOUT_VERSION, packed_size
from blast_deploy.structures.contract import DOMAIN, IR_VERSION, OPSET

WIDTHS = (7, 4)
"""Of the outputs; the input is 5 wide, in one block each way, rank 2."""


def group(inputs: int = 5, outputs: int = 2, **attributes: Any) -> onnx.ModelProto:
    tensors = {}
    for index, width in enumerate(WIDTHS):
        tensors[f"factors{index}"] = np.ones(packed_size(width, 5, (1, 1), 2), np.float32)
        tensors[f"bias{index}"] = np.zeros(width, np.float32)
    described = {
        "in_features": 5,
        "blocks_in": 1,
        "out_features": WIDTHS,
        "blocks_out": (1, 1),
        "rank": (2, 2),
        "activation": "none,none",
        "layout_version": LAYOUT_VERSION,
        "instruction_set": Library().instruction_sets()[0],
        **attributes,
    }
    names = [f"y{index}" for index in range(outputs)]
    node = helper.make_node(
        "BlastLinearGroupPacked", ["x", *tensors][:inputs], names, name="group", domain=DOMAIN, **described
    )
    graph = helper.make_graph(
        [node],
        "group",
        [helper.make_tensor_value_info("x", 1, ["rows", 5])],
        [helper.make_tensor_value_info(name, 1, None) for name in names],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def run(model: onnx.ModelProto) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.register_custom_ops_library(str(bd.library_path()))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": np.ones((3, 5), np.float32)})


def test_a_whole_group_runs() -> None:
    assert [y.shape for y in run(group())] == [(3, 7), (3, 4)]


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ({"inputs": 4}, "input 4 is missing"),
        ({"outputs": 1}, "output 1 is missing"),
        ({"rank": (2,)}, "rank has 1 values, and must have 2"),
        ({"out_features": (7, 4, 3)}, "blocks_out has 2 values, and must have 3"),
        ({"activation": "none,none,silu"}, "activation has 3 values, and must have 2"),
        ({"activation": "none,swish"}, "swish"),
        ({"rank": (2, 20)}, "packed"),
    ],
)
def test_a_broken_one_is_refused(broken: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Exception, match=sentence):
        run(group(**broken))
