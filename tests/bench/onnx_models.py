"""Small model files for the benchmark's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def scale_model(
    path: Path,
    factor: float = 2.0,
    *,
    input_name: str = "x",
    output_name: str = "y",
    width: int | None = None,
    external: bool = False,
) -> Path:
    """Write y = factor * x, with x of shape (rows, 4); ``width`` makes y that wide by padding with zeros."""
    x = helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["rows", 4])
    y = helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["rows", width or 4])
    weights = np.zeros((4, width or 4), np.float32)
    weights[:, :4] = factor * np.eye(4)
    graph = helper.make_graph(
        [helper.make_node("MatMul", [input_name, "w"], [output_name])],
        "scale",
        [x],
        [y],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0} if external else {}
    onnx.save(model, path, **data)
    return path
