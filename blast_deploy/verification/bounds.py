"""How far a layer may be from float64: derived from what its function body errs on the very same rows."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from blast_deploy.factors import LayerFactors
from blast_deploy.passes.single_layer import single_layer_model
from blast_deploy.stock import run_stock
from blast_deploy.tolerance import Tolerance, deviation, tolerance


def layer_tolerance(layer: LayerFactors, rows: NDArray[Any], truth: NDArray[Any]) -> Tolerance:
    """Run the body in plain ONNX Runtime on captured rows and derive the bound from its error.

    Args:
        layer: The layer with its original factors.
        rows: What really entered it, (rows, in_features) at the model's dtype.
        truth: The layer's float64 output for those rows.
    """
    model = single_layer_model(layer.operator, layer.tensors, layer.out_features, layer.in_features)
    serialised = model.SerializeToString()
    del model  # or a large layer's factors would be in memory once more
    (body,) = run_stock(serialised, [{"X": rows}])
    return tolerance(deviation(body["Y"], truth), rows.dtype.name)
