"""Bounds of layers: the body's own error, at every element type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx  # noqa: F401  (its ml_dtypes gives NumPy the type bfloat16)
import pytest
from ml_dtypes import bfloat16
from numpy.typing import NDArray
from planting import SQUARE
from portable_models import Layer, random_layers

from blast_deploy.artifact import LayerRecord
from blast_deploy.factors import LayerFactors, save_factors
from blast_deploy.runner import Tap
from blast_deploy.stock import NEARBY, nearby
from blast_deploy.structures.gblr.intervals import IntervalFactor
from blast_deploy.structures.gblr.matrix import GblrMatrix
from blast_deploy.tolerance import deviation, tolerance
from blast_deploy.verification.bounds import layer_tolerance
from blast_deploy.verification.layers import compare_layers


def factors_of(layer: Layer) -> LayerFactors:
    matrix = layer.matrix
    tensors = {"U": matrix.u, "S": matrix.s, "V": matrix.v, "bias": layer.bias}
    return LayerFactors(layer.name, "BlastLinear", matrix.out_features, matrix.in_features, tensors)


def rows(dtype: str, count: int = 20) -> NDArray[np.generic]:
    return np.random.default_rng(5).standard_normal((count, 96)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_the_bound_is_four_times_the_bodys_error_or_eight_eps(dtype: str) -> None:
    layer = factors_of(random_layers(SQUARE, dtype=dtype)[0])
    x = rows(dtype)
    bound = layer_tolerance(layer, x, layer.apply(x), dtype)
    eps = np.finfo(dtype).eps
    assert 0.02 * eps < bound.body.rms < 10 * eps
    assert bound == tolerance(bound.body, dtype)


def test_many_components_may_be_added_in_any_order() -> None:
    count = 3000
    factor = IntervalFactor(
        np.zeros(count, np.float32), np.zeros(count, np.int64), np.ones(count, np.int64), 96
    )
    tensors = GblrMatrix(factor, factor).tensors()
    layer = LayerFactors("l", "GblrLinear", 96, 96, {**tensors, "bias": np.zeros(96, np.float32)})
    bound = layer_tolerance(layer, rows("float32"), np.zeros((20, 96)), "float32")
    assert bound == tolerance(bound.body, "float32", additions=96 + count)
    assert bound.max == pytest.approx(0.5 * (96 + count) ** 0.5 * np.finfo(np.float32).eps)


def test_a_bfloat16_layer_is_bound_by_the_float32_body_rounded() -> None:
    """Factors and rows hold bfloat16 values in float32, as they are stored and captured."""
    layer = factors_of(random_layers(SQUARE, dtype="bfloat16")[0])
    wide = {name: array.astype(np.float32) for name, array in layer.tensors.items()}
    layer = LayerFactors(layer.name, layer.operator, layer.out_features, layer.in_features, wide)
    x = rows("float32").astype(bfloat16).astype(np.float32)
    truth = layer.apply(x)
    bound = layer_tolerance(layer, x, truth, "bfloat16")
    rounded = deviation(truth.astype(np.float32).astype(bfloat16).astype(np.float32), truth)
    assert bound.body.rms == pytest.approx(rounded.rms, rel=0.2)
    assert bound.rms == 8 * 2.0**-7
    assert "8 x eps of bfloat16" in bound.derivation


@pytest.mark.parametrize("carrier", [np.float32, bfloat16])
def test_a_bfloat16_layer_is_judged(tmp_path: Path, carrier: type) -> None:
    layer = factors_of(random_layers(SQUARE, dtype="bfloat16")[0])
    wide = {name: array.astype(np.float32) for name, array in layer.tensors.items()}
    stored = LayerFactors("block.0", "BlastLinear", 96, 96, wide)
    save_factors([stored], tmp_path / "factors.safetensors")
    record = LayerRecord("block.0", "BlastLinear", "bfloat16", 96, 96, "", 0)
    x = rows("float32").astype(bfloat16)
    y = stored.apply(x.astype(np.float32))
    for found, verdict in ((y, "passed"), (y[:, ::-1], "failed"), (y + 0.2, "failed")):
        taps = {"block.0": Tap(x.astype(carrier), found.astype(bfloat16).astype(carrier))}
        (comparison,) = compare_layers([record], [taps], tmp_path / "factors.safetensors", lambda name: None)
        assert comparison.verdict == verdict, comparison
    (comparison,) = compare_layers(
        [record],
        [{"block.0": Tap(x.astype(np.float16), y.astype(np.float16))}],
        tmp_path / "f",
        lambda name: None,
    )
    assert "what entered it is float16, the manifest says bfloat16" in comparison.reason


def test_nearby_inputs_are_one_unit_in_the_last_place_away() -> None:
    sample = {"x": rows("float32"), "ids": np.arange(5), "mask": np.array([0.0, 1.0, 0.0], np.float32)}
    first, *others = nearby(sample)
    assert first is sample
    assert len(others) == NEARBY
    for other in others:
        ulps = np.abs(other["x"].view(np.int32) - sample["x"].view(np.int32))
        assert set(np.unique(ulps)) == {0, 1}
        np.testing.assert_array_equal(other["ids"], sample["ids"])
        np.testing.assert_array_equal(other["mask"][[0, 2]], 0)
    assert not np.array_equal(others[0]["x"], others[1]["x"])
    again = nearby(sample)
    np.testing.assert_array_equal(others[0]["x"], again[1]["x"])


def test_a_sample_of_whole_numbers_has_none_nearby() -> None:
    sample = {"ids": np.arange(5)}
    assert nearby(sample) == [sample]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nearby_inputs_stay_finite(dtype: str) -> None:
    extremes = np.array([np.finfo(dtype).max, np.finfo(dtype).min, np.finfo(dtype).tiny], dtype)
    for other in nearby({"x": np.repeat(extremes, 50)}):
        assert np.isfinite(other["x"]).all()
        assert other["x"].dtype == dtype
