"""Every way in which this project computes a quantised BLAST layer; a new one is one entry more."""

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
from implementations import LAYER, in_reference, in_runtime, session_options, with_library
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from quantized_problems import QuantizedProblem

from blast_deploy.native import MAX_INSTRUCTION_SET_VARIABLE, Library, library_path
from blast_deploy.passes.densify import Densify
from blast_deploy.passes.dequantize import Dequantize
from blast_deploy.passes.inline_functions import InlineFunctions
from blast_deploy.passes.pack_blast import PackBlast
from blast_deploy.passes.pack_quantized import PackQuantized
from blast_deploy.structures.contract import DOMAIN, DOMAIN_VERSION, IR_VERSION, Q_BLAST_LINEAR
from blast_deploy.structures.quantized_blast.operator import function_proto

Array = NDArray[Any]


@dataclass(frozen=True)
class QuantizedImplementation:
    """One way to compute a layer, for the activations it is offered for."""

    name: str
    run: Callable[[QuantizedProblem], Array]
    activations: tuple[Any, ...] = ("float", "int8")


def model(problem: QuantizedProblem) -> onnx.ModelProto:
    """One QBlastLinear node with its body; all leading axes are dynamic."""
    matrix = problem.matrix
    element = ml_dtypes.int4 if matrix.bits == 4 else np.int8
    tensors = {
        name: array.astype(element) if name in ("Uq", "Vq") else array
        for name, array in matrix.tensors().items()
    } | {"bias": problem.bias}
    node = helper.make_node(
        Q_BLAST_LINEAR.name,
        ["x", *tensors],
        ["y"],
        name=LAYER,
        domain=DOMAIN,
        in_features=matrix.in_features,
        out_features=matrix.out_features,
        bits=matrix.bits,
        u_block_size=matrix.u_block_size,
        v_block_size=matrix.v_block_size,
        activation=problem.activation,
    )
    axes = [f"axis_{index}" for index in range(problem.x.ndim - 1)]
    graph = helper.make_graph(
        [node],
        "one_layer",
        [helper.make_tensor_value_info("x", 1, [*axes, matrix.in_features])],
        [helper.make_tensor_value_info("y", 1, [*axes, matrix.out_features])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    opsets = [helper.make_opsetid("", Q_BLAST_LINEAR.opset), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    return helper.make_model(graph, functions=[function_proto()], opset_imports=opsets, ir_version=IR_VERSION)


def numpy_truth(problem: QuantizedProblem) -> Array:
    return problem.matrix.apply(problem.x, problem.bias, problem.activation).astype(np.float32)


def body_in_reference(problem: QuantizedProblem) -> Array:
    with np.errstate(divide="ignore"):
        return in_reference(model(problem), problem)  # type: ignore[arg-type]


def body_in_runtime(problem: QuantizedProblem) -> Array:
    return in_runtime(model(problem), problem)  # type: ignore[arg-type]


def body_in_runtime_unoptimised(problem: QuantizedProblem) -> Array:
    return in_runtime(model(problem), problem, optimise=False)  # type: ignore[arg-type]


def body_beside_the_library(problem: QuantizedProblem) -> Array:
    """The library registers no kernel of this operator, so its body must still run."""
    options = session_options(1)
    options.register_custom_ops_library(str(library_path()))
    session = onnxruntime.InferenceSession(model(problem).SerializeToString(), options)
    result: Array = session.run(None, {"x": problem.x})[0]
    return result


def rewritten(problem: QuantizedProblem, *passes: Any) -> onnx.ModelProto:
    changed = ir.from_proto(model(problem))
    for each in passes:
        each(changed)
    return ir.to_proto(changed)


def inlined_in_runtime(problem: QuantizedProblem) -> Array:
    return in_runtime(rewritten(problem, InlineFunctions([LAYER])), problem)  # type: ignore[arg-type]


def dense_in_runtime(problem: QuantizedProblem) -> Array:
    return in_runtime(rewritten(problem, Densify([LAYER])), problem)  # type: ignore[arg-type]


def dequantised_kernel(problem: QuantizedProblem) -> Array:
    instruction_set = Library().instruction_sets()[0]
    proto = rewritten(problem, Dequantize([LAYER]), PackBlast([LAYER], instruction_set))
    return with_library(proto, {"x": problem.x}, 1)


def integer_kernel(problem: QuantizedProblem, instruction_set: str, threads: int = 1) -> Array:
    before = os.environ.get(MAX_INSTRUCTION_SET_VARIABLE)
    os.environ[MAX_INSTRUCTION_SET_VARIABLE] = instruction_set
    try:
        proto = rewritten(problem, PackQuantized([LAYER], instruction_set))
        return with_library(proto, {"x": problem.x}, threads)
    finally:
        del os.environ[MAX_INSTRUCTION_SET_VARIABLE]
        if before is not None:
            os.environ[MAX_INSTRUCTION_SET_VARIABLE] = before


def on_instruction_sets() -> tuple[QuantizedImplementation, ...]:
    """The integer kernel on every instruction set that this machine has, and with two threads on the best."""
    found = Library().instruction_sets()
    runs = [(f"kernel-{name}", name, 1) for name in found] + [("kernel-two-threads", found[0], 2)]
    return tuple(
        QuantizedImplementation(
            title, functools.partial(integer_kernel, instruction_set=name, threads=threads), ("int8",)
        )
        for title, name, threads in runs
    )


QUANTIZED_IMPLEMENTATIONS = (
    QuantizedImplementation("numpy-truth", numpy_truth),
    QuantizedImplementation("body-in-reference", body_in_reference),
    QuantizedImplementation("body-in-runtime", body_in_runtime),
    QuantizedImplementation("body-in-runtime-unoptimised", body_in_runtime_unoptimised),
    QuantizedImplementation("body-beside-the-library", body_beside_the_library),
    QuantizedImplementation("inlined-in-runtime", inlined_in_runtime),
    QuantizedImplementation("dense-in-runtime", dense_in_runtime, ("float",)),
    QuantizedImplementation("dequantised-kernel", dequantised_kernel, ("float",)),
    *on_instruction_sets(),
)
