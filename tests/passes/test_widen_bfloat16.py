"""Layers of bfloat16 run in float between casts, and every other layer stays as it is."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from portable_models import LayerSizes, chain, forward, inputs, random_layers

from blast_deploy.passes.structured import structured_layers
from blast_deploy.passes.widen_bfloat16 import WidenBfloat16
from blast_deploy.stock import run_stock

SIZES = (LayerSizes(37, 19, (3, 2), 5), LayerSizes(23, 37, (2, 5), 7))


def test_a_widened_model_gives_the_layers_function_rounded_to_bfloat16() -> None:
    layers = random_layers(SIZES[:1], dtype="bfloat16")
    model = ir.from_proto(chain(layers))
    assert WidenBfloat16()(model).modified
    # What enters is a bfloat16 already, so that only the output's rounding is left.
    sample = {"x": inputs(layers, 2, 9)["x"].astype(layers[0].matrix.u.dtype).astype(np.float32)}
    (found,) = run_stock(ir.to_proto(model).SerializeToString(), [sample])
    truth = forward(layers, sample["x"])
    np.testing.assert_allclose(found["y"], truth, rtol=2**-8, atol=1e-4)
    rounded = found["y"].astype(layers[0].matrix.u.dtype).astype(np.float32)
    np.testing.assert_array_equal(found["y"], rounded)


def test_only_bfloat16_is_widened() -> None:
    model = ir.from_proto(chain(random_layers(SIZES, dtype=("float16", "bfloat16"))))
    WidenBfloat16()(model)
    assert [(layer.name, layer.dtype) for layer in structured_layers(model)] == [
        ("block.0", "float16"),
        ("block.1", "float32"),
    ]


def test_without_bfloat16_nothing_changes() -> None:
    model = ir.from_proto(chain(random_layers(SIZES, dtype="float16")))
    assert not WidenBfloat16()(model).modified
