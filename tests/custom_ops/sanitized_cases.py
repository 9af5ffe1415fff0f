"""Random layers through the real runtime, run by ``test_sanitized.py`` with a sanitized operator library.

Each case makes a session of one node, honest or broken, and runs it. A sanitizer's finding ends the process;
so does a result that is wrong, or an honest layer that is refused.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from layer_models import Layer, open_model, packed_model, plain_model
from numpy.typing import NDArray

STRANGE = (0, -1, 1, 7, 2**31, 2**31 - 1, 2**62, -(2**63))
DTYPES = {"float32": 1, "float16": 10, "float64": 11}


@dataclass(frozen=True)
class Case:
    """One model, what to feed it, and what it should give; None for one that is broken."""

    model: onnx.ModelProto
    feeds: dict[str, NDArray[Any]]
    expected: NDArray[np.float64] | None
    tolerance: float


def draw(seed: int) -> Case:
    """Make a case; the seed decides all of it."""
    random = np.random.default_rng(seed)
    m, n, b1, b2 = (int(random.integers(1, most)) for most in (90, 90, 8, 8))
    rank = int(random.integers(1, 40) if random.random() < 0.9 else random.integers(150, 200))
    layer = Layer(m, n, (b1, b2), rank)
    dtype = str(random.choice(list(DTYPES)))
    packed, constant, broken = (bool(random.random() < chance) for chance in (0.5, 0.7, 0.3))
    rows = tuple(int(each) for each in random.integers(0, 9, random.integers(1, 3)))
    x = (layer.rows(*rows) / (8 * n * rank)).astype(dtype)
    attributes = _bent_attribute(random) if broken and random.random() < 0.6 else {}
    replaced = _bent_tensor(random, layer, packed) if broken and not attributes else {}
    axes = [f"axis{index}" for index in range(len(rows))]
    shared: dict[str, Any] = {
        "x_shape": [*axes, "width"],
        "attributes": attributes,
        "replaced": replaced,
        "dtype": DTYPES[dtype],
    }
    model = packed_model(layer, **shared) if packed else plain_model(layer, constant=constant, **shared)
    feeds = {"X": x}
    if not packed and not constant:
        tensors = {"U": layer.matrix.u, "S": layer.matrix.s, "V": layer.matrix.v, "bias": layer.bias}
        feeds |= {name: array.astype(dtype) for name, array in (tensors | replaced).items()}
    expected = None if broken else layer.matrix.apply(x, layer.bias)
    return Case(model, feeds, expected, 50 * float(ml_dtypes.finfo(dtype).eps))


def run(case: Case) -> bool:
    """Whether the case is as it should be."""
    try:
        (y,) = open_model(case.model).run(None, case.feeds)
    except Exception as error:  # the runtime raises types of its own that share no public base
        if case.expected is not None:
            print(f"an honest layer is refused: {error}", file=sys.stderr)
        return case.expected is None
    if case.expected is None:
        return True  # bent in a way that means nothing
    size = max(1.0, float(np.abs(case.expected).max(initial=0)))
    return y.shape == case.expected.shape and bool(
        np.allclose(y.astype(np.float64), case.expected, rtol=0, atol=case.tolerance * size)
    )


def main(count: int, first: int) -> int:
    """Run so many cases; the exit code says whether one was wrong."""
    for seed in range(first, first + count):
        if not run(draw(seed)):
            print(f"case {seed} is wrong", file=sys.stderr)
            return 1
    print(f"{count} cases")
    return 0


def _bent_attribute(random: np.random.Generator) -> dict[str, int]:
    name = str(random.choice(["in_features", "out_features"]))
    return {name: int(random.choice(STRANGE))}


def _bent_tensor(random: np.random.Generator, layer: Layer, packed: bool) -> dict[str, NDArray[Any]]:
    name = "factors" if packed else str(random.choice(["U", "S", "V", "bias"]))
    shape = [int(each) for each in random.integers(0, 6, random.integers(0, 4))]
    return {name: np.ones(shape, np.float32)}


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
