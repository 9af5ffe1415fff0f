"""A small ONNX model with two BLAST layers in a row and a third beside the first."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.blast.operator import function_proto
from blast_deploy.structures.contract import DOMAIN, IR_VERSION, OPSET

# name: out, in, (b1, b2), rank, input value, output value
LAYERS: dict[str, tuple[int, int, tuple[int, int], int, str, str]] = {
    "block.first": (5, 7, (2, 3), 4, "x", "h"),
    "block.beside": (5, 7, (1, 1), 1, "x", "k"),
    "last": (6, 5, (3, 2), 2, "r", "y"),
}


def random_matrix(
    out_features: int,
    in_features: int,
    blocks: tuple[int, int],
    rank: int,
    dtype: Any = np.float32,
    seed: int = 0,
) -> BlastMatrix:
    generator = np.random.default_rng(seed)
    p, q = -(-out_features // blocks[0]), -(-in_features // blocks[1])
    shapes = ((blocks[0], p, rank), (*blocks, rank), (blocks[1], rank, q))
    u, s, v = (generator.standard_normal(shape).astype(dtype) for shape in shapes)
    return BlastMatrix(u, s, v, out_features, in_features)


def matrix_of(name: str, dtype: Any = np.float32) -> BlastMatrix:
    out_features, in_features, blocks, rank, _, _ = LAYERS[name]
    return random_matrix(out_features, in_features, blocks, rank, dtype, seed=len(name))


def bias_of(name: str, dtype: Any = np.float32) -> NDArray[Any]:
    if name == "block.beside":
        return np.zeros(5, dtype)
    return np.random.default_rng(1).standard_normal(LAYERS[name][0]).astype(dtype)


def proto(dtype: Any = np.float32) -> onnx.ModelProto:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes, initializers = [], []
    for name, (out_features, in_features, _, _, entering, leaving) in LAYERS.items():
        matrix = matrix_of(name, dtype)
        arrays = {"U": matrix.u, "S": matrix.s, "V": matrix.v, "bias": bias_of(name, dtype)}
        initializers += [numpy_helper.from_array(array, f"{name}.{key}") for key, array in arrays.items()]
        nodes.append(
            helper.make_node(
                "BlastLinear",
                [entering, *(f"{name}.{key}" for key in arrays)],
                [leaving],
                name=name,
                domain=DOMAIN,
                in_features=in_features,
                out_features=out_features,
            )
        )
    nodes[2:2] = [helper.make_node("Add", ["h", "k"], ["s"]), helper.make_node("Relu", ["s"], ["r"])]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", element, ["batch", "rows", 7])],
        [helper.make_tensor_value_info("y", element, ["batch", "rows", 6])],
        initializers,
    )
    return helper.make_model(
        graph,
        functions=[function_proto()],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
        ir_version=IR_VERSION,
    )


def model(dtype: Any = np.float32) -> ir.Model:
    return ir.from_proto(proto(dtype))


def x(dtype: Any = np.float32, leading: tuple[int, ...] = (2, 3)) -> NDArray[Any]:
    return np.random.default_rng(2).standard_normal((*leading, 7)).astype(dtype)


def truth(entering: NDArray[Any], dtype: Any = np.float32) -> dict[str, NDArray[np.float64]]:
    """Every layer's output in float64, by layer name, and what enters the last as ``r``."""
    first, beside = (matrix_of(n, dtype).apply(entering, bias_of(n, dtype)) for n in list(LAYERS)[:2])
    hidden = np.maximum(first + beside, 0)
    last = matrix_of("last", dtype).apply(hidden, bias_of("last", dtype))
    return {"block.first": first, "block.beside": beside, "r": hidden, "last": last}


def run(
    given: ir.Model | onnx.ModelProto, entering: NDArray[Any], library: str | None = None
) -> dict[str, Any]:
    """Run in ONNX Runtime, with the operator library if its path is given, after the full checker."""
    import onnxruntime

    checked = ir.to_proto(given) if isinstance(given, ir.Model) else given
    if library is None:
        onnx.checker.check_model(checked, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if library is not None:
        options.register_custom_ops_library(library)
    session = onnxruntime.InferenceSession(checked.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"x": entering}), strict=True))
