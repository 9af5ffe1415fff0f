from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blast_deploy.errors import InvalidInputError
from blast_deploy.results import TensorSpec
from blast_deploy.runner import check_inputs

SPECS = (
    TensorSpec("ids", "int64", ("batch", "sequence")),
    TensorSpec("mask", "int64", ("batch", "sequence")),
    TensorSpec("scale", "float32", (3,)),
)


def inputs(**changes: Any) -> dict[str, Any]:
    right = {
        "ids": np.zeros((2, 5), np.int64),
        "mask": np.ones((2, 5), np.int64),
        "scale": np.ones(3, np.float32),
    }
    changed = right | changes
    return {name: value for name, value in changed.items() if value is not None}


def test_what_fits_is_taken() -> None:
    check_inputs(SPECS, inputs())
    check_inputs(SPECS, inputs(ids=np.zeros((0, 5), np.int64), mask=np.zeros((0, 5), np.int64)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": None}, "input 'mask' is missing; the model takes ids, mask, scale"),
        ({"masks": np.ones((2, 5), np.int64)}, "no input 'masks'; it takes ids, mask, scale"),
        ({"scale": [1.0, 1.0, 1.0]}, "'scale' must be a NumPy array.*list"),
        ({"scale": np.ones(3)}, "'scale' must have dtype float32.*float64"),
        ({"ids": np.zeros((2, 5), np.int32)}, "'ids' must have dtype int64.*int32"),
        ({"scale": np.ones(4, np.float32)}, r"'scale' must have shape \(3\).*\(4,\)"),
        ({"ids": np.zeros(10, np.int64)}, r"'ids' must have shape \(batch, sequence\).*\(10,\)"),
        (
            {"mask": np.ones((2, 6), np.int64)},
            "axis 'sequence' of input 'mask' must be 5, as in 'ids'.*got 6",
        ),
        ({"mask": np.ones((1, 5), np.int64)}, "axis 'batch' of input 'mask' must be 2"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        check_inputs(SPECS, inputs(**changes))
