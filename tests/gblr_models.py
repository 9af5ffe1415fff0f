"""GBLR matrices and models for tests: odd ones of every kind, random ones, the intervals of learned ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from blast_deploy import reference
from blast_deploy.model_paths import reference_path
from blast_deploy.reference import Reference, Sample
from blast_deploy.structures.contract import DOMAIN, DOMAIN_VERSION, IR_VERSION, OPSET
from blast_deploy.structures.gblr.intervals import IntervalFactor
from blast_deploy.structures.gblr.matrix import GblrMatrix
from blast_deploy.structures.gblr.operator import function_proto

# name: (out, in), u_start, u_width, v_start, v_width
ODD: dict[str, tuple[tuple[int, int], list[int], list[int], list[int], list[int]]] = {
    "no-components": ((5, 4), [], [], [], []),
    "one-of-everything": ((1, 1), [0], [1], [0], [1]),
    "width-one": ((5, 7), [4, 0], [1, 1], [6, 3], [1, 1]),
    "full-width": ((5, 7), [0, 2, 4], [5, 5, 5], [0, 6, 3], [7, 7, 7]),
    "wraps-around": ((11, 7), [9, 4, 10], [5, 3, 2], [5, 0, 6], [4, 7, 2]),
    "more-components-than-sizes": (
        (3, 2),
        [0, 1, 2, 0, 1, 2, 1],
        [2] * 7,
        [0, 1] * 3 + [1],
        [1, 2] * 3 + [2],
    ),
}


def factor(starts: Any, widths: Any, size: int, seed: int = 0, dtype: Any = np.float64) -> IntervalFactor:
    """Normal values on the given intervals."""
    starts, widths = (np.asarray(each, np.int64) for each in (starts, widths))
    values = np.random.default_rng(seed).standard_normal(int(widths.sum())).astype(dtype)
    return IntervalFactor(values, starts, widths, size)


def odd(name: str, dtype: Any = np.float64) -> GblrMatrix:
    """One of ``ODD``."""
    (m, n), u_start, u_width, v_start, v_width = ODD[name]
    return GblrMatrix(factor(u_start, u_width, m, 1, dtype), factor(v_start, v_width, n, 2, dtype))


def random(
    out_features: int,
    in_features: int,
    components: int,
    *,
    widest: float = 1.0,
    seed: int = 0,
    dtype: Any = np.float64,
) -> GblrMatrix:
    """Intervals anywhere, up to ``widest`` of the axis."""
    generator = np.random.default_rng(seed)

    def side(size: int, seed: int) -> IntervalFactor:
        widths = generator.integers(1, max(1, int(widest * size)) + 1, components)
        return factor(generator.integers(0, size, components), widths, size, seed, dtype)

    return GblrMatrix(side(out_features, seed + 1), side(in_features, seed + 2))


def learned_intervals(name: str) -> dict[str, NDArray[np.int64]]:
    """Starts and widths, dead components included, that the original code found for a layer of MiniLM.

    Args:
        name: ``query_50`` (384 x 384) or ``output_50`` (384 x 1536), both at 50% of the parameters.
    """
    with np.load(Path(__file__).with_name("learned_intervals.npz")) as file:
        keys = ("u_start", "u_width", "v_start", "v_width")
        return {key: file[f"{name}_{key}"].astype(np.int64) for key in keys}


def learned(name: str, dtype: Any = np.float32) -> GblrMatrix:
    """A matrix on the live ones of those intervals."""
    found = learned_intervals(name)
    live = (found["u_width"] >= 2) & (found["v_width"] >= 2)
    kept = {key: array[live] for key, array in found.items()}
    in_features = 384 if name.startswith("query") else 1536
    return GblrMatrix(
        factor(kept["u_start"], kept["u_width"], 384, 1, dtype),
        factor(kept["v_start"], kept["v_width"], in_features, 2, dtype),
    )


def tensors(matrix: GblrMatrix, bias: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The operator's constant inputs, by name."""
    u, v = matrix.u, matrix.v
    left = {"u": u.values, "u_start": u.starts, "u_width": u.widths}
    right = {"v": v.values, "v_start": v.starts, "v_width": v.widths}
    return left | right | {"bias": bias}


def node(layer: str, matrix: GblrMatrix, entering: str, leaving: str) -> onnx.NodeProto:
    """A ``GblrLinear`` node whose constants are named ``<layer>.<input>``."""
    names = [f"{layer}.{name}" for name in tensors(matrix, np.empty(0))]
    sizes = {"in_features": matrix.in_features, "out_features": matrix.out_features}
    return helper.make_node("GblrLinear", [entering, *names], [leaving], layer, domain=DOMAIN, **sizes)


def initializers(layer: str, matrix: GblrMatrix, bias: NDArray[Any]) -> list[onnx.TensorProto]:
    """What the node reads."""
    return [
        numpy_helper.from_array(array, f"{layer}.{name}") for name, array in tensors(matrix, bias).items()
    ]


def one_layer(
    matrix: GblrMatrix, bias: NDArray[Any], leading: Sequence[str], layer: str = "layer"
) -> onnx.ModelProto:
    """A model of one node with its body: input ``x`` (*leading, in_features), output ``y``."""
    element = helper.np_dtype_to_tensor_dtype(bias.dtype)
    graph = helper.make_graph(
        [node(layer, matrix, "x", "y")],
        "one_layer",
        [helper.make_tensor_value_info("x", element, [*leading, matrix.in_features])],
        [helper.make_tensor_value_info("y", element, [*leading, matrix.out_features])],
        initializers(layer, matrix, bias),
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    return helper.make_model(graph, functions=[function_proto()], opset_imports=opsets, ir_version=IR_VERSION)


@dataclass(frozen=True)
class Chain:
    """Two layers with tanh between, named ``block.0`` and ``block.1``."""

    matrices: tuple[GblrMatrix, GblrMatrix]
    biases: tuple[NDArray[Any], NDArray[Any]]

    def forward(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """The chain in float64."""
        hidden = np.tanh(self.matrices[0].apply(x, self.biases[0]))
        return self.matrices[1].apply(hidden, self.biases[1])

    def model(self) -> onnx.ModelProto:
        """Input ``x`` (batch, sequence, n), output ``y``."""
        first, last = self.matrices
        element = helper.np_dtype_to_tensor_dtype(first.u.values.dtype)
        nodes = [
            node("block.0", first, "x", "h"),
            helper.make_node("Tanh", ["h"], ["t"], "tanh"),
            node("block.1", last, "t", "y"),
        ]
        graph = helper.make_graph(
            nodes,
            "chain",
            [helper.make_tensor_value_info("x", element, ["batch", "sequence", first.in_features])],
            [helper.make_tensor_value_info("y", element, ["batch", "sequence", last.out_features])],
            [*initializers("block.0", first, self.biases[0]), *initializers("block.1", last, self.biases[1])],
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
        return helper.make_model(
            graph, functions=[function_proto()], opset_imports=opsets, ir_version=IR_VERSION
        )

    def write(self, folder: Path) -> Path:
        """Write the model and its float64 reference, as export would; returns the model's path."""
        path, random = folder / "model.onnx", np.random.default_rng(5)
        onnx.save(self.model(), path)
        shapes = (2, 5), (1, 3)
        width, dtype = self.matrices[0].in_features, self.biases[0].dtype
        rows = [random.standard_normal((*shape, width)).astype(dtype) for shape in shapes]
        samples = tuple(Sample({"x": x}, {"y": self.forward(x)}) for x in rows)
        reference.save(Reference(reference.sha256(path), samples), reference_path(path))
        return path


def chain(dtype: Any = np.float32) -> Chain:
    """37 x 19 with wrapping intervals, then 23 x 37; outputs are about 1 in size."""
    matrices = random(37, 19, 6, seed=3, dtype=dtype), random(23, 37, 9, widest=0.5, seed=4, dtype=dtype)
    biases = tuple(np.random.default_rng(6).standard_normal(m.out_features).astype(dtype) for m in matrices)
    return Chain(matrices, (biases[0], biases[1]))
