"""The structured layers' original factors, kept in an artifact as the independent truth for each layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.matrix import BlastMatrix

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class LayerFactors:
    """One structured layer's operator with its constant inputs.

    Attributes:
        name: Qualified name.
        operator: Operator in domain ``ai.blast``.
        out_features: Width of its output.
        in_features: Width of its input.
        tensors: Operator input to array, ``X`` excepted, at the model's own dtype.
    """

    name: str
    operator: str
    out_features: int
    in_features: int
    tensors: Tensors

    def apply(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Compute the layer in float64.

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


def load_factors(path: Path, name: str, operator: str, out_features: int, in_features: int) -> LayerFactors:
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
    return LayerFactors(name, operator, out_features, in_features, tensors)


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
    u, s, v, bias = (layer.tensors[name] for name in _TENSORS["BlastLinear"])
    return BlastMatrix(u, s, v, layer.out_features, layer.in_features).apply(x, bias)


_TENSORS = {"BlastLinear": ("U", "S", "V", "bias")}
_TRUTHS: dict[str, Callable[[LayerFactors, NDArray[Any]], NDArray[np.float64]]] = {"BlastLinear": _blast}
