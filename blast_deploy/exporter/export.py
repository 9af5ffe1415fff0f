"""Torch to portable ONNX: one file that any ONNX Runtime runs, and the float64 outputs it must give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray
from torch import Tensor, nn

from blast_deploy import reference
from blast_deploy.element_types import epsilon
from blast_deploy.errors import InvalidInputError
from blast_deploy.exporter.call import Axes
from blast_deploy.exporter.check import check_file, check_outputs
from blast_deploy.exporter.densify import multiply_out
from blast_deploy.exporter.source import Source, from_family, from_folder, from_module
from blast_deploy.exporter.translate import translate
from blast_deploy.exporter.truth import float64_outputs
from blast_deploy.model_files import check_output, model_bytes, staged_files, write_model
from blast_deploy.model_paths import reference_path
from blast_deploy.passes.structured import structured_layers
from blast_deploy.reference import Reference, Sample
from blast_deploy.results import ExportResult, TensorSpec
from blast_deploy.structures.gblr.gaudi import freeze

Progress = Callable[[int, int, str], None]
_STEPS = (
    "load the model",
    "translate it to ONNX",
    "write and check the file",
    "compute float64 outputs",
    "compare",
)


def export(
    source: str | Path | nn.Module,
    example_inputs: Tensor | Sequence[Any] | Mapping[str, Any] | None = None,
    path: str | Path | None = None,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Axes | None = None,
    samples: Iterable[Mapping[str, NDArray[Any]]] | None = None,
    dense_module: nn.Module | None = None,
    dense: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> ExportResult:
    """Export a model folder, or any torch module, to ONNX.

    Each ``BlastLinear`` becomes one ``ai.blast::BlastLinear`` node and each ``GblrLinear`` one ``GblrLinear``
    node, named after the module, whose meaning the file carries as a function of standard operators. A
    ``GaudiGblrLinear`` is frozen as it is in evaluation. Beside ``model.onnx`` lies ``model.reference.npz``:
    the sample inputs and what the module gives for them in float64. Weights of more than 1.5 GiB go to
    ``model.onnx.data``. The caller's module is never changed.

    Args:
        source: A model folder, or a module. Folders and Hugging Face models of a known family need no
            example; their inputs, outputs and axes are the family's.
        example_inputs: One tensor, positional arguments or keyword arguments of the module.
        path: The file to write, ending in ``.onnx``.
        input_names: Names of the tensors in the example; by default the parameters' names.
        output_names: Names of the tensors that the module returns.
        dynamic_axes: Input name to axis to a name for its size; every other axis is fixed to the example's.
            The example must have at least 2 there.
        samples: Inputs by name to record outputs for; by default the example, or the family's own.
        dense_module: The dense original, called in the same way, to record its outputs as well. A folder
            that compress wrote has them already.
        dense: Multiply every structured layer out first, and export an ordinary dense model.
        force: Replace files that exist.
        progress: Called with steps done, steps in all and what comes next.

    Returns:
        Where the files are and what is in them.

    Raises:
        InvalidInputError: If an argument, the module, or what torch made of it cannot be used.
        OutputExistsError: If a file exists and ``force`` is not given.
    """
    if path is None:
        raise InvalidInputError("no output is named; pass path, such as 'model.onnx'")
    output = Path(path)
    check_output(output, force)
    if example_inputs is None and any((input_names, output_names, dynamic_axes)):
        raise InvalidInputError(
            "names and dynamic_axes belong to example_inputs, which are missing; pass them too"
        )
    steps = _Steps(progress)
    steps.next()
    if isinstance(source, nn.Module) and example_inputs is not None:
        given = from_module(
            source,
            example_inputs,
            input_names=input_names,
            output_names=output_names,
            axes=dynamic_axes,
            samples=samples,
            dense_module=dense_module,
        )
    elif isinstance(source, nn.Module):
        given = from_family(source, samples=samples, dense_module=dense_module)
    elif example_inputs is None:
        given = from_folder(Path(source), samples=samples, dense_module=dense_module)
    else:
        raise InvalidInputError(
            "a folder's inputs are known, so example_inputs do not go with it; leave them out"
        )
    return _export(given, output, dense=dense, force=force, steps=steps)


def _export(source: Source, path: Path, *, dense: bool, force: bool, steps: _Steps) -> ExportResult:
    frozen = freeze(source.module)
    module = multiply_out(frozen) if dense else frozen
    for sample in source.samples:
        source.call.replaced(sample, lambda tensor: tensor)
    steps.next()
    model = translate(module, source.call, source.axes, source.output_names, source.prefix)
    layers = tuple(layer.name for layer in structured_layers(model))
    _check_count(source.output_names, model)
    inputs, outputs = (tuple(map(_spec, values)) for values in (model.graph.inputs, model.graph.outputs))
    with staged_files(path, force) as staged:
        steps.next()
        write_model(model, staged)
        check_file(staged)
        steps.next()
        recorded = _record(source, module, outputs)
        reference.save(Reference(reference.sha256(staged), recorded), reference_path(staged))
        steps.next()
        check_outputs(staged, outputs, recorded, _coarsest_epsilon(model))
    return ExportResult(
        path=path,
        reference=reference_path(path),
        opset=model.opset_imports[""],
        ir_version=model.ir_version,
        bytes=model_bytes(path),
        inputs=inputs,
        outputs=outputs,
        structured_layers=layers,
    )


def _coarsest_epsilon(model: ir.Model) -> float:
    values = [value for node in model.graph.all_nodes() for value in node.outputs]
    types = {value.dtype for value in (*values, *model.graph.outputs)}
    return max(epsilon(str(dtype.numpy().name)) for dtype in types if dtype is not None)


def _check_count(names: Sequence[str] | None, model: ir.Model) -> None:
    if names is not None and len(names) != len(model.graph.outputs):
        raise InvalidInputError(
            f"output_names must be {len(model.graph.outputs)} names, as many as the module returns tensors "
            f"(got {', '.join(names)})"
        )


def _record(source: Source, module: nn.Module, outputs: Sequence[TensorSpec]) -> tuple[Sample, ...]:
    """Compute the reference; promotes the copies in ``source`` to float64."""
    names = [spec.name for spec in outputs]
    own = float64_outputs(module, source.call, source.samples, names)
    dense: Sequence[Mapping[str, NDArray[Any]]] | None = source.dense_outputs
    if source.dense_module is not None:
        dense = float64_outputs(source.dense_module, source.call, source.samples, names)
    return tuple(
        Sample(inputs, given, None if dense is None else dense[index])
        for index, (inputs, given) in enumerate(zip(source.samples, own, strict=True))
    )


def _spec(value: ir.Value) -> TensorSpec:
    if value.name is None or value.dtype is None or value.shape is None:
        raise InvalidInputError(f"torch gave input or output {value.name!r} no element type or shape")
    if value.dtype == ir.DataType.BFLOAT16:
        raise InvalidInputError(
            f"output {value.name!r} is bfloat16, which NumPy lacks; let the module return it as float32"
        )
    shape = tuple(axis if isinstance(axis, int) else axis.value or "?" for axis in value.shape)
    return TensorSpec(value.name, str(value.dtype.numpy().name), shape)


class _Steps:
    """Tells each step before it begins."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._done = 0

    def next(self) -> None:
        if self._progress is not None:
            self._progress(self._done, len(_STEPS), _STEPS[self._done])
        self._done += 1
