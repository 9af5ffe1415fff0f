"""Whether a written model file is what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from blast_deploy.errors import InvalidInputError
from blast_deploy.reference import Sample
from blast_deploy.results import TensorSpec
from blast_deploy.stock import first_line, run_stock


def check_file(path: Path) -> None:
    """Pass the file through the full checker and strict shape inference.

    Raises:
        InvalidInputError: If either refuses it, with its words.
    """
    try:
        onnx.checker.check_model(path, full_check=True)
        onnx.shape_inference.infer_shapes(
            onnx.load(path, load_external_data=False), check_type=True, strict_mode=True, data_prop=True
        )
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InvalidInputError(
            f"the exported model is not valid ONNX ({first_line(error)}); this module cannot be exported"
        ) from error


def check_outputs(
    path: Path, outputs: Sequence[TensorSpec], samples: Sequence[Sample], epsilon: float
) -> None:
    """Run the file in plain ONNX Runtime and compare it with the float64 outputs.

    This finds a wrong graph, not rounding, which verification judges: the root mean square of the error must
    stay below the square root of ``epsilon``, relative to that of the truth.

    Args:
        path: The model file.
        outputs: Its outputs.
        samples: Inputs and float64 outputs.
        epsilon: Of the coarsest float type that the model computes in.

    Raises:
        InvalidInputError: If the runtime cannot run it, or an output has another shape or other values.
    """
    found = run_stock(path, [sample.inputs for sample in samples], prepack=False)
    for index, (own, sample) in enumerate(zip(found, samples, strict=True)):
        for spec in outputs:
            array, truth = own[spec.name], sample.outputs[spec.name]
            where = f"output {spec.name!r} of the exported model on sample {index}"
            if array.shape != truth.shape:
                raise InvalidInputError(
                    f"{where} has shape {array.shape} where the module gives {truth.shape}; "
                    "mend dynamic_axes or the example inputs"
                )
            if not np.isfinite(truth).all():
                raise InvalidInputError(
                    f"the module itself gives NaN or infinity in float64 for output {spec.name!r} of sample "
                    f"{index}, by which nothing can be judged; mend the module or give other samples"
                )
            dtype = np.dtype(spec.dtype)
            if dtype.kind != "f" or truth.size == 0:
                continue
            if not np.isfinite(array).all():
                raise InvalidInputError(
                    f"{where} is NaN or infinite in plain ONNX Runtime and finite in float64, as where a "
                    "narrow element type overflows; scale the weights or export it in a wider type"
                )
            with np.errstate(all="ignore"):
                square = np.mean((array - truth) ** 2) / max(np.mean(truth**2), np.finfo(dtype).tiny)
            error = np.sqrt(square)
            if not error <= np.sqrt(epsilon):
                raise InvalidInputError(
                    f"{where} differs from the module's by {error:.2g} of its root mean square; torch "
                    "exported other values than the module computes, so it cannot be used"
                )
