"""Every way in which this project computes a BLAST layer; a new one is one entry of ``IMPLEMENTATIONS``.

Those of torch are apart, in ``torch_implementations.py``: all others run where torch is not installed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from cases import Problem
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from blast_deploy.native import MAX_INSTRUCTION_SET_VARIABLE, Library, library_path
from blast_deploy.passes.densify import Densify
from blast_deploy.passes.inline_functions import InlineFunctions
from blast_deploy.passes.pack_blast import PackBlast
from blast_deploy.runtime import open_session
from blast_deploy.structures.blast import packing
from blast_deploy.structures.blast.operator import function_proto
from blast_deploy.structures.contract import DOMAIN, DOMAIN_VERSION, IR_VERSION, OPSET

Array = NDArray[Any]
FLOATS = (np.float16, np.float32, np.float64)
KERNEL_TYPES = (*FLOATS, ml_dtypes.bfloat16)
LAYER = "layer"


@dataclass(frozen=True)
class Implementation:
    """One way to compute a layer.

    Attributes:
        name: What the test is called.
        run: Computes a problem.
        dtypes: The element types it takes.
        multiplied_out: Whether it multiplies by the dense weight, which has another error bound.
        widens: Whether it computes types of 16 bits in float and rounds once, at the end.
    """

    name: str
    run: Callable[[Problem], Array]
    dtypes: tuple[Any, ...]
    multiplied_out: bool = False
    widens: bool = False


def numpy_apply(problem: Problem) -> Array:
    return problem.matrix.apply(problem.x, problem.bias)


def numpy_dense(problem: Problem) -> Array:
    product: Array = problem.x.astype(np.float64) @ problem.matrix.dense().T + problem.bias
    return product


def body_in_reference(problem: Problem) -> Array:
    return in_reference(model(problem), problem)


def inlined_in_reference(problem: Problem) -> Array:
    rewritten = ir.from_proto(model(problem))
    InlineFunctions([LAYER])(rewritten)
    return in_reference(ir.to_proto(rewritten), problem)


def in_reference(proto: onnx.ModelProto, problem: Problem) -> Array:
    outputs: Any = ReferenceEvaluator(proto).run(None, {"x": problem.x})
    return np.asarray(outputs[0])


def in_runtime(proto: onnx.ModelProto, problem: Problem, *, optimise: bool = True, threads: int = 1) -> Array:
    options = session_options(threads)
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = open_session(proto.SerializeToString(), options)
    result: Array = session.run(None, {"x": problem.x})[0]
    return result


def body_in_runtime(problem: Problem) -> Array:
    return in_runtime(model(problem), problem)


def body_in_runtime_unoptimised(problem: Problem) -> Array:
    return in_runtime(model(problem), problem, optimise=False)


def dense_in_runtime(problem: Problem) -> Array:
    rewritten = ir.from_proto(model(problem))
    Densify([LAYER])(rewritten)
    return in_runtime(ir.to_proto(rewritten), problem)


def with_library(proto: onnx.ModelProto, feeds: dict[str, Array], threads: int) -> Array:
    """Run with the operator library and without the function body, so that only the kernel can compute it."""
    del proto.functions[:]
    narrow = feeds["x"].dtype == ml_dtypes.bfloat16
    if narrow:
        feeds = between_casts(proto, feeds)
    options = session_options(threads)
    options.register_custom_ops_library(str(library_path()))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    result: Array = session.run(None, feeds)[0]
    return result.astype(ml_dtypes.bfloat16) if narrow else result


def between_casts(proto: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    """Let a bfloat16 model take and give float, which holds every bfloat16: NumPy has none to feed."""
    graph, (node,) = proto.graph, proto.graph.node
    fed = {value.name: f"{value.name}:narrow" for value in graph.input}
    casts = [
        helper.make_node("Cast", [name], [narrow], to=TensorProto.BFLOAT16) for name, narrow in fed.items()
    ]
    node.input[:] = [fed.get(name, name) for name in node.input]
    node.output[:] = ["y:narrow"]
    widen = helper.make_node("Cast", ["y:narrow"], ["y"], to=TensorProto.FLOAT)
    layer = onnx.NodeProto()
    layer.CopyFrom(node)
    del graph.node[:]
    graph.node.extend([*casts, layer, widen])
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    return {name: array.astype(np.float32) for name, array in feeds.items()}


def kernel(problem: Problem, instruction_set: str, threads: int = 1) -> Array:
    before = os.environ.get(MAX_INSTRUCTION_SET_VARIABLE)
    os.environ[MAX_INSTRUCTION_SET_VARIABLE] = instruction_set
    try:
        return with_library(model(problem), {"x": problem.x}, threads)
    finally:
        del os.environ[MAX_INSTRUCTION_SET_VARIABLE]
        if before is not None:
            os.environ[MAX_INSTRUCTION_SET_VARIABLE] = before


def kernel_with_fed_factors(problem: Problem) -> Array:
    proto = model(problem)
    feeds = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    del proto.graph.initializer[:]
    return with_library(proto, {"x": problem.x, **feeds}, 1)


def packed_kernel(problem: Problem, instruction_set: str, threads: int = 1) -> Array:
    rewritten = ir.from_proto(model(problem))
    PackBlast([LAYER], instruction_set)(rewritten)
    return with_library(ir.to_proto(rewritten), {"x": problem.x}, threads)


def direct_kernel(problem: Problem, instruction_set: str) -> Array:
    matrix = problem.matrix
    rows = np.ascontiguousarray(problem.x.reshape(-1, matrix.in_features))
    y = packing.linear(
        packing.pack(matrix),
        matrix.out_features,
        matrix.in_features,
        matrix.blocks,
        matrix.rank,
        rows,
        problem.bias,
        instruction_set,
    )
    return y.reshape(*problem.x.shape[:-1], matrix.out_features)


def model(problem: Problem) -> onnx.ModelProto:
    """One BlastLinear node with its body; all leading axes are dynamic."""
    element = helper.np_dtype_to_tensor_dtype(problem.x.dtype)
    matrix = problem.matrix
    axes = [f"axis_{index}" for index in range(problem.x.ndim - 1)]
    tensors = {"U": matrix.u, "S": matrix.s, "V": matrix.v, "bias": problem.bias}
    node = helper.make_node(
        "BlastLinear",
        ["x", *tensors],
        ["y"],
        name=LAYER,
        domain=DOMAIN,
        in_features=matrix.in_features,
        out_features=matrix.out_features,
    )
    graph = helper.make_graph(
        [node],
        "one_layer",
        [helper.make_tensor_value_info("x", element, [*axes, matrix.in_features])],
        [helper.make_tensor_value_info("y", element, [*axes, matrix.out_features])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    return helper.make_model(graph, functions=[function_proto()], opset_imports=opsets, ir_version=IR_VERSION)


def session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    return options


def on_instruction_sets() -> tuple[Implementation, ...]:
    """The kernels in each form on every instruction set that this machine has."""
    found: list[Implementation] = []
    for name in Library().instruction_sets():
        forms = (("kernel", kernel), ("packed-kernel", packed_kernel), ("direct-kernel", direct_kernel))
        for form, run in forms:
            found.append(
                Implementation(
                    f"{form}-{name}", functools.partial(run, instruction_set=name), KERNEL_TYPES, widens=True
                )
            )
        for form, run_threaded in forms[:2]:
            threaded = functools.partial(run_threaded, instruction_set=name, threads=2)
            found.append(Implementation(f"{form}-{name}-two-threads", threaded, (np.float32,)))
    return tuple(found)


IMPLEMENTATIONS = (
    Implementation("numpy-apply", numpy_apply, (np.float64,)),
    Implementation("numpy-dense", numpy_dense, (np.float64,), multiplied_out=True),
    Implementation("body-in-reference", body_in_reference, FLOATS),
    Implementation("inlined-in-reference", inlined_in_reference, FLOATS),
    Implementation("body-in-runtime", body_in_runtime, FLOATS),
    Implementation("body-in-runtime-unoptimised", body_in_runtime_unoptimised, FLOATS),
    Implementation("dense-in-runtime", dense_in_runtime, FLOATS, multiplied_out=True),
    Implementation("kernel-with-fed-factors", kernel_with_fed_factors, KERNEL_TYPES, widens=True),
    *on_instruction_sets(),
)
