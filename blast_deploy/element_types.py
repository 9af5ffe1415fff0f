"""The float types that weights and activations may have, by NumPy's names; NumPy itself lacks bfloat16."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

ONNX_NUMBERS = {"float32": 1, "float16": 10, "float64": 11, "bfloat16": 16}
"""Name to the number that ONNX gives the type; these are all the types that structured layers may have."""


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a name; bfloat16 is that of ml_dtypes."""
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def epsilon(name: str) -> float:
    """Distance from 1 to the next larger number; 0 for integers and truth values, which are exact."""
    dtype = numpy_dtype(name)
    if dtype.kind not in "fV":  # NumPy gives the types of ml_dtypes the kind V
        return 0.0
    return float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]
