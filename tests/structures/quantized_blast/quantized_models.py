"""Random quantised matrices and one-node models of them."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from blast_deploy.structures.contract import DOMAIN, DOMAIN_VERSION, IR_VERSION, Q_BLAST_LINEAR
from blast_deploy.structures.quantized_blast.matrix import QuantizedBlastMatrix
from blast_deploy.structures.quantized_blast.operator import function_proto

SIZES = st.tuples(st.integers(1, 23), st.integers(1, 80))
GRIDS = st.tuples(st.integers(1, 4), st.integers(1, 4))
BLOCK_SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70))


def random_quantized(
    out_features: int,
    in_features: int,
    blocks: tuple[int, int],
    rank: int,
    *,
    bits: int = 8,
    block_sizes: tuple[int, int] = (32, 32),
    seed: int = 0,
) -> QuantizedBlastMatrix:
    """Integers and scales of every kind, padding too; outputs of about 1 for inputs of about 1."""
    random = np.random.default_rng(seed)
    (b1, b2), half = blocks, 2 ** (bits - 1)
    p, q = -(-out_features // b1), -(-in_features // b2)

    def integers(*shape: int) -> NDArray[np.int8]:
        return random.integers(-half, half, shape).astype(np.int8)

    def scales(*shape: int) -> NDArray[np.float32]:
        signs = random.choice([-1.0, 1.0], shape)
        return (signs * random.uniform(0.5, 1.5, shape) / half).astype(np.float32)

    return QuantizedBlastMatrix(
        uq=integers(b1, p, rank),
        u_scale=scales(b1, p, math.ceil(rank / block_sizes[0])) / np.float32(rank**0.5),
        s=random.integers(-127, 128, (b1, b2, rank)).astype(np.int8),
        vq=integers(b2, rank, q),
        v_scale=scales(b2, rank, math.ceil(q / block_sizes[1])) / np.float32(127 * in_features**0.5),
        out_features=out_features,
        in_features=in_features,
        bits=bits,
        u_block_size=block_sizes[0],
        v_block_size=block_sizes[1],
    )


def one_node(
    matrix: QuantizedBlastMatrix,
    bias: NDArray[np.float32],
    activation: str,
    leading: int,
    width: int | str | None = None,
) -> onnx.ModelProto:
    """One QBlastLinear node with its body; all leading axes are dynamic."""
    element = ml_dtypes.int4 if matrix.bits == 4 else np.int8
    tensors: dict[str, NDArray[Any]] = {
        "Uq": matrix.uq.astype(element),
        "U_scale": matrix.u_scale,
        "S": matrix.s,
        "Vq": matrix.vq.astype(element),
        "V_scale": matrix.v_scale,
        "bias": bias,
    }
    node = helper.make_node(
        Q_BLAST_LINEAR.name,
        ["x", *tensors],
        ["y"],
        name="layer",
        domain=DOMAIN,
        in_features=matrix.in_features,
        out_features=matrix.out_features,
        bits=matrix.bits,
        u_block_size=matrix.u_block_size,
        v_block_size=matrix.v_block_size,
        activation=activation,
    )
    axes = [f"axis_{index}" for index in range(leading)]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", 1, [*axes, width or matrix.in_features])],
        [helper.make_tensor_value_info("y", 1, [*axes, matrix.out_features])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    opsets = [helper.make_opsetid("", Q_BLAST_LINEAR.opset), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    return helper.make_model(graph, functions=[function_proto()], opset_imports=opsets, ir_version=IR_VERSION)
