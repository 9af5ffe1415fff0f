"""Small portable models written by hand, their float64 references, and targets that force a form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from blast_deploy import reference
from blast_deploy.element_types import numpy_dtype
from blast_deploy.model_paths import reference_path
from blast_deploy.reference import Reference, Sample
from blast_deploy.structures.blast import operator
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.contract import DOMAIN, DOMAIN_VERSION, IR_VERSION, OPSET
from blast_deploy.targets import Costs, FormCosts, Target, load_target


@dataclass(frozen=True)
class LayerSizes:
    """Sizes of one BLAST layer."""

    out_features: int
    in_features: int
    blocks: tuple[int, int]
    rank: int


ODD = (LayerSizes(37, 19, (3, 2), 5), LayerSizes(23, 37, (2, 5), 7))
"""Sizes that do not divide, b1 != b2, and an odd rank."""

BLAST_OPSETS = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]


@dataclass(frozen=True)
class Layer:
    """A layer's name, factors and bias."""

    name: str
    matrix: BlastMatrix
    bias: NDArray[Any]


def random_layers(
    sizes: Sequence[LayerSizes] = ODD, seed: int = 0, dtype: str | Sequence[str] = "float32"
) -> tuple[Layer, ...]:
    """Random layers named ``block.0``, ``block.1`` and so on, whose outputs are about 1 in size.

    ``dtype`` may name one element type for each layer.
    """
    dtypes = [dtype] * len(sizes) if isinstance(dtype, str) else list(dtype)
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[Any]:
        return random.standard_normal(shape)

    layers = []
    for index, (m, n, (b1, b2), r) in enumerate(
        (s.out_features, s.in_features, s.blocks, s.rank) for s in sizes
    ):
        factors = normal(b1, -(-m // b1), r), normal(b1, b2, r) / np.sqrt(n * r), normal(b2, r, -(-n // b2))
        own = numpy_dtype(dtypes[index])
        matrix = BlastMatrix(*(factor.astype(own) for factor in factors), m, n)
        layers.append(Layer(f"block.{index}", matrix, (normal(m) / 2).astype(own)))
    return tuple(layers)


def forward(layers: Sequence[Layer], x: NDArray[Any]) -> NDArray[np.float64]:
    """The chain in float64: each layer, and tanh between two."""
    for layer in layers[:-1]:
        x = np.tanh(layer.matrix.apply(x, layer.bias))
    return layers[-1].matrix.apply(x, layers[-1].bias)


def chain(layers: Sequence[Layer]) -> onnx.ModelProto:
    """The chain as a portable model: input ``x`` (batch, sequence, n), output ``y``.

    A layer of another element type than the model's stands between two casts.
    """
    element = helper.np_dtype_to_tensor_dtype(model_dtype(layers))
    nodes, initializers, value = [], [], "x"
    for index, layer in enumerate(layers):
        tensors = {"U": layer.matrix.u, "S": layer.matrix.s, "V": layer.matrix.v, "bias": layer.bias}
        names = [f"{layer.name}.{name}" for name in tensors]
        initializers += [
            numpy_helper.from_array(np.ascontiguousarray(array), name)
            for name, array in zip(names, tensors.values(), strict=True)
        ]
        last = index == len(layers) - 1
        output = "y" if last else f"{layer.name}.output"
        sizes = {"in_features": layer.matrix.in_features, "out_features": layer.matrix.out_features}
        entering, leaving = value, output
        own = helper.np_dtype_to_tensor_dtype(layer.matrix.u.dtype)
        if own != element:
            entering, leaving = f"{layer.name}.cast_input", f"{layer.name}.cast_output"
            nodes.append(helper.make_node("Cast", [value], [entering], f"{layer.name}.before", to=own))
        nodes.append(
            helper.make_node("BlastLinear", [entering, *names], [leaving], layer.name, domain=DOMAIN, **sizes)
        )
        if own != element:
            nodes.append(helper.make_node("Cast", [leaving], [output], f"{layer.name}.after", to=element))
        if not last:
            nodes.append(helper.make_node("Tanh", [output], [f"{layer.name}.tanh"], f"{layer.name}.tanh"))
            value = f"{layer.name}.tanh"
    return portable(
        nodes, initializers, element, layers[0].matrix.in_features, layers[-1].matrix.out_features
    )


def model_dtype(layers: Sequence[Layer]) -> np.dtype[Any]:
    """What the chain takes and gives: the type that all layers share if NumPy has it, else float32."""
    dtypes = {layer.matrix.u.dtype for layer in layers}
    shared = dtypes.pop()
    return np.dtype(np.float32) if dtypes or shared.kind != "f" else shared


def portable(
    nodes: list[Any], initializers: list[Any], element: int, in_features: int, out_features: int
) -> onnx.ModelProto:
    """A model of input ``x`` (batch, sequence, in_features) and output ``y``, BLAST's body attached."""
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", element, ["batch", "sequence", in_features])],
        [helper.make_tensor_value_info("y", element, ["batch", "sequence", out_features])],
        initializers,
    )
    return helper.make_model(
        graph, functions=[operator.function_proto()], opset_imports=BLAST_OPSETS, ir_version=IR_VERSION
    )


def dense_model(weight: NDArray[Any]) -> onnx.ModelProto:
    """A model without structured layers: y = x W."""
    node = helper.make_node("MatMul", ["x", "weight"], ["y"], "linear")
    initializer = numpy_helper.from_array(weight.astype(np.float32), "weight")
    return portable([node], [initializer], TensorProto.FLOAT, *weight.shape)


def inputs(layers: Sequence[Layer], batch: int, sequence: int, seed: int = 1) -> dict[str, NDArray[Any]]:
    """Random inputs of the chain."""
    matrix = layers[0].matrix
    x = np.random.default_rng(seed).standard_normal((batch, sequence, matrix.in_features))
    return {"x": x.astype(model_dtype(layers))}


def write_portable(
    folder: Path,
    layers: Sequence[Layer],
    samples: Sequence[dict[str, NDArray[Any]]] | None = None,
    *,
    dense: bool = False,
) -> Path:
    """Write the chain and the float64 reference beside it, as export would; returns the model's path."""
    path = folder / "model.onnx"
    onnx.save(chain(layers), path)
    if samples is None:
        samples = [inputs(layers, 2, 5), inputs(layers, 1, 3, seed=2)]
    made = []
    for sample in samples:
        y = forward(layers, sample["x"])
        made.append(Sample(sample, {"y": y}, {"y": y * 1.25} if dense else None))
    reference.save(Reference(reference.sha256(path), tuple(made)), reference_path(path))
    return path


def forcing(form: str, name: str = "cpu-native") -> Target:
    """An installed target whose costs make the planner choose one form wherever it is accepted."""
    slow = FormCosts(call_microseconds=1e6, gigaflops=100.0, gigabytes_per_second=10.0)
    fast = FormCosts(call_microseconds=1.0, gigaflops=100.0, gigabytes_per_second=10.0)
    costs = {each: fast if each == form else slow for each in ("kernel", "body", "dense")}
    return msgspec.structs.replace(load_target(name), costs=Costs(origin="made up for a test", **costs))
