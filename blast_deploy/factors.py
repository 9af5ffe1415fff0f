"""The structured layers' original factors, kept in an artifact as the independent truth for each layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.contract import BLAST_LINEAR, GBLR_LINEAR, Q_BLAST_LINEAR
from blast_deploy.structures.gblr.intervals import IntervalFactor
from blast_deploy.structures.gblr.matrix import GblrMatrix
from blast_deploy.structures.quantized_blast.matrix import QuantizedBlastMatrix

Tensors = Mapping[str, NDArray[Any]]
Attributes = Mapping[str, int | str]


@dataclass(frozen=True)
class LayerFactors:
    """One structured layer's operator with its constant inputs.

    Attributes:
        name: Qualified name.
        operator: Operator in domain ``ai.blast``.
        out_features: Width of its output.
        in_features: Width of its input.
        tensors: Operator input to array, ``X`` excepted, at the model's own dtype; 4 bits in int8.
        attributes: The operator's attributes, the sizes aside.
    """

    name: str
    operator: str
    out_features: int
    in_features: int
    tensors: Tensors
    attributes: Attributes = field(default_factory=dict)

    def apply(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Compute the layer in float64, integers exactly.

        Args:
            x: Rows (..., in_features).

        Raises:
            InvalidInputError: If the operator is unknown or its tensors do not fit together.
        """
        if self.operator not in _TRUTHS:
            raise InvalidInputError(
                f"layer {self.name} has operator {self.operator}, which has no float64 truth here"
            )
        return _TRUTHS[self.operator](self, x)


def save_factors(layers: Iterable[LayerFactors], path: Path) -> None:
    """Write the tensors of all layers as ``<layer>.<input>``, at their own dtypes."""
    arrays = {
        f"{layer.name}.{name}": np.ascontiguousarray(array)
        for layer in layers
        for name, array in layer.tensors.items()
    }
    save_file(arrays, path)
    # The library makes a file that only its owner can read; an artifact is as open as its folder.
    path.chmod(0o644)


def load_factors(
    path: Path,
    name: str,
    operator: str,
    out_features: int,
    in_features: int,
    attributes: Attributes | None = None,
) -> LayerFactors:
    """Read the tensors of one layer.

    Raises:
        InvalidInputError: If the file cannot be read or lacks one of them.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {each: file.get_tensor(f"{name}.{each}") for each in _TENSORS[operator]}
    except (OSError, KeyError, SafetensorError) as error:
        raise InvalidInputError(
            f"{path} holds no factors of layer {name} ({error}); compile the model again"
        ) from error
    return LayerFactors(name, operator, out_features, in_features, tensors, attributes or {})


def stored_dtype(operator: str, tensor: str, dtype: str) -> str:
    """The element type that a tensor is kept in, where the layer's own is ``dtype``; 4 bits are in int8."""
    return _INTEGERS[operator].get(tensor, dtype)


def layer_names(path: Path) -> frozenset[str]:
    """Names of the layers whose tensors a file holds; none where there is no file.

    Raises:
        InvalidInputError: If it cannot be read.
    """
    if not path.is_file():
        return frozenset()
    try:
        with safe_open(path, framework="numpy") as file:
            return frozenset(key.rpartition(".")[0] for key in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InvalidInputError(f"{path} holds no factors ({error}); compile the model again") from error


def _blast(layer: LayerFactors, x: NDArray[Any]) -> NDArray[np.float64]:
    u, s, v, bias = (layer.tensors[name] for name in _TENSORS[BLAST_LINEAR.name])
    return BlastMatrix(u, s, v, layer.out_features, layer.in_features).apply(x, bias)


def _quantized_blast(layer: LayerFactors, x: NDArray[Any]) -> NDArray[np.float64]:
    activation: Any = layer.attributes.get("activation")
    return quantized_matrix(layer).apply(x, layer.tensors["bias"], activation)


def quantized_matrix(layer: LayerFactors) -> QuantizedBlastMatrix:
    """The matrix of a ``QBlastLinear`` layer.

    Raises:
        InvalidInputError: If an attribute is missing, or the tensors do not fit together.
    """
    sizes = layer.out_features, layer.in_features
    return QuantizedBlastMatrix.from_operator(layer.tensors, layer.attributes, *sizes)


def _gblr(layer: LayerFactors, x: NDArray[Any]) -> NDArray[np.float64]:
    u, u_start, u_width, v, v_start, v_width, bias = (
        layer.tensors[name] for name in _TENSORS[GBLR_LINEAR.name]
    )
    left = IntervalFactor(u, u_start, u_width, layer.out_features)
    right = IntervalFactor(v, v_start, v_width, layer.in_features)
    return GblrMatrix(left, right).apply(x, bias)


def has_quantised_layers(operators: Iterable[str]) -> bool:
    """Whether one of a model's layers, given by their operators, has integer factors."""
    return any(operator == Q_BLAST_LINEAR.name for operator in operators)


def quantises_activations(layer: LayerFactors) -> bool:
    """Whether a layer quantises what enters it, so that its truth is exact in integers alone."""
    return layer.operator == Q_BLAST_LINEAR.name and layer.attributes.get("activation") == "int8"


def without_quantised_activations(layer: LayerFactors) -> LayerFactors:
    """The layer with its factors quantised and nothing else."""
    return replace(layer, attributes={**layer.attributes, "activation": "float"})


_TENSORS = {
    operator.name: tuple(item.name for item in operator.inputs[1:])
    for operator in (BLAST_LINEAR, Q_BLAST_LINEAR, GBLR_LINEAR)
}
_INTEGERS = {
    operator.name: {
        item.name: "int8" if item.type == "Q" else item.type for item in operator.inputs if item.type != "T"
    }
    for operator in (BLAST_LINEAR, Q_BLAST_LINEAR, GBLR_LINEAR)
}
_TRUTHS: dict[str, Callable[[LayerFactors, NDArray[Any]], NDArray[np.float64]]] = {
    BLAST_LINEAR.name: _blast,
    Q_BLAST_LINEAR.name: _quantized_blast,
    GBLR_LINEAR.name: _gblr,
}
