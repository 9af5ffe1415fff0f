"""Random models that are right, from mild to extreme: sizes, ranks, dtypes, stacks, scales, outliers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from portable_models import Layer, LayerSizes, portable, random_layers

from blast_deploy import reference
from blast_deploy.element_types import ONNX_NUMBERS, epsilon, numpy_dtype
from blast_deploy.model_paths import reference_path
from blast_deploy.reference import Reference, Sample
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.contract import DOMAIN

DTYPES = ("float32", "float16", "float64", "mixed")
"""Element type of a model; ``mixed`` is float32 with layers of any type, bfloat16 too, between casts."""
LARGEST_SCALE = {"float32": 1e3, "float16": 10.0, "float64": 1e3, "mixed": 10.0}
"""Times ordinary weights; larger ones overflow float16."""
LARGEST_BIAS = 30
"""Times what it is added to."""
JOINTS = ("tanh", "residual", "none")
"""What follows a layer that is not the last: tanh, tanh added to what entered, or nothing."""


@dataclass(frozen=True)
class HonestModel:
    """A stack of layers with what lies between them, and the inputs to judge it by."""

    layers: tuple[Layer, ...]
    joints: tuple[str, ...]
    samples: tuple[NDArray[Any], ...]
    description: str


def draw(seed: int, dtype: str) -> HonestModel:
    """Draw a model and inputs that can judge it: rows that differ wherever they enter a layer."""
    drawn = (_draw(np.random.default_rng((seed, attempt)), dtype) for attempt in range(100))
    return next(model for model in drawn if _can_be_judged(model))


def _draw(random: np.random.Generator, dtype: str) -> HonestModel:
    widths = [_log_uniform(random, 1, 400)]
    sizes, joints = [], []
    for _ in range(random.integers(1, 5)):
        joint = str(random.choice(JOINTS if dtype in ("float32", "float64") else JOINTS[:2]))
        wide = widths[-1] if joint == "residual" else _log_uniform(random, 1, 400)
        blocks = (int(random.integers(1, min(wide, 9) + 1)), int(random.integers(1, min(widths[-1], 9) + 1)))
        sizes.append(LayerSizes(wide, widths[-1], blocks, _log_uniform(random, 1, 200)))
        joints.append(joint)
        widths.append(wide)
    most = LARGEST_SCALE[dtype]
    scale = float(np.exp(random.uniform(np.log(1 / most), np.log(most))))
    layers = random_layers(sizes, seed=int(random.integers(2**31)), dtype="float64")
    own = [str(random.choice(list(ONNX_NUMBERS))) if dtype == "mixed" else dtype for _ in sizes]
    entering = "float32" if dtype == "mixed" else dtype
    samples = tuple(_rows(random, widths[0]).astype(entering) for _ in range(random.integers(1, 4)))
    layers = tuple(_scaled(layer, scale, random, each) for layer, each in zip(layers, own, strict=True))
    model = _with_biases(HonestModel(layers, tuple(joints), samples, ""), random)
    return replace(model, description=f"{own}, scale {scale:.3g}, {sizes}, {joints}")


def write(model: HonestModel, folder: Path) -> Path:
    """Write the portable model, and the float64 reference beside it."""
    path = folder / "model.onnx"
    onnx.save(_graph(model), path)
    samples = tuple(Sample({"x": x}, {"y": forward(model, x)}) for x in model.samples)
    reference.save(Reference(reference.sha256(path), samples), reference_path(path))
    return path


def forward(model: HonestModel, x: NDArray[Any]) -> NDArray[np.float64]:
    """The model in float64."""
    return _values(model, x)[-1]


def _values(model: HonestModel, x: NDArray[Any]) -> list[NDArray[np.float64]]:
    """What enters each layer in float64, and what leaves the last."""
    values = [x.astype(np.float64)]
    for index, (layer, joint) in enumerate(zip(model.layers, model.joints, strict=True)):
        given = layer.matrix.apply(values[-1], layer.bias)
        if index == len(model.layers) - 1 or joint == "none":
            values.append(given)
        else:
            values.append(np.tanh(given) + (values[-1] if joint == "residual" else 0))
    return values


def _can_be_judged(model: HonestModel) -> bool:
    # Rows that differ in the coarsest type differ in whatever is between.
    dtype = max((layer.bias.dtype for layer in model.layers), key=lambda each: epsilon(each.name))
    entering = zip(*(_values(model, x)[:-1] for x in model.samples), strict=True)
    rows = (np.concatenate([x.reshape(-1, x.shape[-1]) for x in each]).astype(dtype) for each in entering)
    return all((each != each[0]).any() for each in rows)


def _graph(model: HonestModel) -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []
    element = helper.np_dtype_to_tensor_dtype(model.samples[0].dtype)
    value = "x"
    for index, (layer, joint) in enumerate(zip(model.layers, model.joints, strict=True)):
        last = index == len(model.layers) - 1
        output = "y" if last else f"{layer.name}.output"
        own_nodes, tensors = _nodes(layer, value, output, element)
        nodes += own_nodes
        initializers += tensors
        if last or joint == "none":
            value = output
            continue
        nodes.append(helper.make_node("Tanh", [output], [f"{layer.name}.tanh"], f"{layer.name}.tanh"))
        if joint == "residual":
            entered = [value, f"{layer.name}.tanh"]
            nodes.append(helper.make_node("Add", entered, [f"{layer.name}.sum"], f"{layer.name}.sum"))
        value = nodes[-1].output[0]
    first, final = model.layers[0].matrix, model.layers[-1].matrix
    return portable(nodes, initializers, element, first.in_features, final.out_features)


def _nodes(
    layer: Layer, value: str, output: str, element: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    tensors = {"U": layer.matrix.u, "S": layer.matrix.s, "V": layer.matrix.v, "bias": layer.bias}
    initializers = [
        numpy_helper.from_array(np.ascontiguousarray(array), f"{layer.name}.{name}")
        for name, array in tensors.items()
    ]
    sizes = {"in_features": layer.matrix.in_features, "out_features": layer.matrix.out_features}
    own = helper.np_dtype_to_tensor_dtype(layer.matrix.u.dtype)
    names = [tensor.name for tensor in initializers]
    if own == element:
        node = helper.make_node("BlastLinear", [value, *names], [output], layer.name, domain=DOMAIN, **sizes)
        return [node], initializers
    entering, leaving = f"{layer.name}.narrow", f"{layer.name}.wide"
    return [
        helper.make_node("Cast", [value], [entering], entering, to=own),
        helper.make_node("BlastLinear", [entering, *names], [leaving], layer.name, domain=DOMAIN, **sizes),
        helper.make_node("Cast", [leaving], [output], leaving, to=element),
    ], initializers


def _scaled(layer: Layer, scale: float, random: np.random.Generator, dtype: str) -> Layer:
    """Scale one of the factors, leave the bias out, and round to the dtype."""
    matrix = layer.matrix
    factors = [matrix.u, matrix.s, matrix.v]
    factors[random.integers(3)] *= scale
    own = numpy_dtype(dtype)
    u, s, v = (factor.astype(own) for factor in factors)
    rounded = BlastMatrix(u, s, v, matrix.out_features, matrix.in_features)
    return Layer(layer.name, rounded, np.zeros(matrix.out_features, own))


def _with_biases(model: HonestModel, random: np.random.Generator) -> HonestModel:
    """Give each layer a bias: none, an ordinary one, or one larger than what it is added to."""
    for index, layer in enumerate(model.layers):
        entering = _values(model, model.samples[0])[index]
        size = np.sqrt(np.mean(np.square(layer.matrix.apply(entering))))
        size *= random.choice([0, 0.5, LARGEST_BIAS])
        bias = (random.standard_normal(layer.matrix.out_features) * size).astype(layer.bias.dtype)
        layers = (*model.layers[:index], replace(layer, bias=bias), *model.layers[index + 1 :])
        model = replace(model, layers=layers)
    return model


def _rows(random: np.random.Generator, width: int) -> NDArray[np.float64]:
    """One to two hundred rows, at least two in all; half of the models have outlying channels and rows."""
    batch, sequence = int(random.integers(1, 4)), _log_uniform(random, 2, 66)
    x = random.standard_normal((batch, sequence, width))
    if random.random() < 0.5:
        x[..., random.integers(width)] *= 50
        x[0, random.integers(sequence)] *= 20
    return x


def _log_uniform(random: np.random.Generator, least: int, most: int) -> int:
    return int(np.exp(random.uniform(np.log(least), np.log(most + 1))))
