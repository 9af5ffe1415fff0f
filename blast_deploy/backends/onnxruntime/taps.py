"""The lowered model with every structured layer's input and output among its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from blast_deploy.artifact import LayerRecord


def tapped_model(path: Path, layers: Sequence[LayerRecord]) -> bytes:
    """Serialise a model with further outputs, its weights left where they are.

    Lowering keeps the names of the values that enter and leave a layer, whatever form computes it.

    Args:
        path: The lowered model file.
        layers: Whose values to add.
    """
    model = onnx.load(path, load_external_data=False)
    there = {value.name for value in (*model.graph.input, *model.graph.output)}
    for layer in layers:
        element_type = helper.np_dtype_to_tensor_dtype(np.dtype(layer.dtype))
        for name in (layer.input, layer.output):
            if name not in there:
                there.add(name)
                model.graph.output.append(helper.make_tensor_value_info(name, element_type, None))
    serialised: bytes = model.SerializeToString()
    return serialised
