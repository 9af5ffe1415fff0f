"""How far a layer may be from float64: derived from what its function body errs on the very same rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy.element_types import numpy_dtype
from blast_deploy.epilogue import apply_epilogue
from blast_deploy.factors import LayerFactors, quantises_activations
from blast_deploy.passes.single_layer import single_layer_model
from blast_deploy.results import Epilogue
from blast_deploy.stock import nearby, run_stock
from blast_deploy.structures.contract import GBLR_LINEAR, Q_BLAST_LINEAR
from blast_deploy.tolerance import BODY_FACTOR, Tolerance, deviation, tolerance, worst
from blast_deploy.verification.flips import flip_allowance


def layer_tolerance(
    layer: LayerFactors,
    rows: NDArray[Any],
    truth: NDArray[Any],
    dtype: str,
    epilogue: Epilogue | None = None,
    residual: NDArray[Any] | None = None,
) -> Tolerance:
    """Run the body in plain ONNX Runtime on captured rows and derive the bound from its error.

    Args:
        layer: The layer with its original factors.
        rows: What really entered it, (rows, in_features) at the model's dtype; float32 for bfloat16.
        truth: The layer's float64 output for those rows, with its epilogue.
        dtype: The layer's element type in NumPy's spelling. Plain ONNX Runtime cannot compute in bfloat16:
            there the body runs in float32 and its output is rounded.
        epilogue: What the layer's node does beside; None for nothing.
        residual: What it adds, (rows, out_features), if it does.
    """
    tensors = dict(layer.tensors)
    inputs = {"X": rows} if residual is None else {"X": rows, "residual": residual}
    if dtype == "bfloat16":
        inputs = {name: array.astype(np.float32) for name, array in inputs.items()}
        tensors = {
            name: tensor if tensor.dtype.kind == "i" else tensor.astype(np.float32)
            for name, tensor in tensors.items()
        }
    model = single_layer_model(
        layer.operator, tensors, layer.out_features, layer.in_features, epilogue, layer.attributes
    )
    serialised = model.SerializeToString()
    del model  # or a large layer's factors would be in memory once more
    found = [body["Y"] for body in run_stock(serialised, nearby(inputs))]
    if dtype == "bfloat16":
        found = [y.astype(numpy_dtype(dtype)).astype(np.float32) for y in found]
    own = tolerance(worst(deviation(y, truth) for y in found), dtype, additions=_additions(layer))
    if not quantises_activations(layer):
        return own
    moved = _moved_by_flips(layer, rows, Epilogue((epilogue or Epilogue()).activation))
    return _with_flips(own, moved, truth)


def _additions(layer: LayerFactors) -> int:
    """The most additions on the way to one output: over columns, then components, or blocks and ranks."""
    if layer.operator == GBLR_LINEAR.name:
        return layer.in_features + len(layer.tensors["u_start"])
    right = layer.tensors["Vq" if layer.operator == Q_BLAST_LINEAR.name else "V"]
    return layer.in_features + len(right) + int(right.shape[1])


def loose_tolerance(truth: NDArray[Any], loose_truth: NDArray[Any], dtype: str) -> Tolerance:
    """How far a layer that quantises activations may be from one that does not.

    Args:
        truth: What it must give, float64.
        loose_truth: What it would give if nothing but its factors were quantised, float64.
        dtype: The layer's element type.
    """
    own = tolerance(deviation(truth, loose_truth), dtype)
    return replace(own, derivation=f"{BODY_FACTOR} x what quantising the activations changes")


def _moved_by_flips(layer: LayerFactors, rows: NDArray[Any], activation: Epilogue) -> NDArray[np.float64]:
    """How far inner values that lie on a half may move the outputs, through the activation function."""
    allowance, y = flip_allowance(layer, rows), layer.apply(rows)
    still, above, below = (
        apply_epilogue(activation, each, None) for each in (y, y + allowance, y - allowance)
    )
    return np.maximum(np.abs(above - still), np.abs(below - still))


def _with_flips(own: Tolerance, moved: NDArray[np.float64], truth: NDArray[Any]) -> Tolerance:
    """Add what flips may move the outputs by."""
    # Beside the truth itself, so that the figures are relative to its size.
    flips = deviation(truth + moved, truth)
    return replace(
        own,
        rms=own.rms + flips.rms,
        max=own.max + flips.max,
        derivation=f"{own.derivation} + inner values that float32 cannot tell from a half, rounded the other "
        f"way (rms {flips.rms:.2e}, max {flips.max:.2e})",
    )
