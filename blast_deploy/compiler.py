"""Portable ONNX to an artifact: planned for a target, lowered by its backend, with what it is judged by."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from blast_deploy import __version__, artifact, reference
from blast_deploy.artifact import Manifest, Operators, Role, Source
from blast_deploy.backends.contract import Lowered
from blast_deploy.backends.registry import load_backend
from blast_deploy.errors import InvalidInputError, UnsupportedMachineError
from blast_deploy.factors import LayerFactors, has_quantised_layers, save_factors
from blast_deploy.model_files import write_model
from blast_deploy.planning.layer import RowRange
from blast_deploy.planning.planner import plan as plan_layers
from blast_deploy.planning.shape import layer_rows, parse_shape
from blast_deploy.portable import (
    PortableModel,
    layer_record,
    leading_axes,
    linear_layer,
    read_portable,
    sizes,
)
from blast_deploy.quantization import BITS, Settings, entering_rows, quantize_model
from blast_deploy.reference import Reference, Sample
from blast_deploy.results import CompileResult, Epilogue, LayerQuantization, Plan
from blast_deploy.samples import gather_samples, read_inputs
from blast_deploy.staging import check_output, scratch_folder, staged_folder
from blast_deploy.stock import nearby, run_stock
from blast_deploy.targets import Target, load_target
from blast_deploy.tolerance import Tolerance, deviation, tolerance, worst

Progress = Callable[[int, int, str], None]
_QUANTISE = "quantise the layers"
_STEPS = (
    "read the model",
    "gather samples",
    _QUANTISE,
    "plan",
    "measure the body's own error",
    "lower",
    "write the manifest",
)
PRECISIONS = ("fp32", *BITS)
_LIBRARIES = ("numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime")


def compile(
    model: str | Path,
    target: str | Path | Target,
    output: str | Path,
    *,
    shape: str | None = None,
    precision: str = "fp32",
    samples: str | Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> CompileResult:
    """Compile a portable ONNX file for a target.

    Args:
        model: The file; the reference that export wrote beside it is taken along.
        target: A target's name, the path of a TOML file, or a target already loaded.
        output: The artifact folder to make.
        shape: Sizes of the dynamic axes to plan for, such as ``batch=1,sequence=16:128``; an axis that is
            not named may be 1 to 128. The artifact takes other sizes too, without the plan's promise.
        precision: Of the structured layers' weights: ``fp32`` leaves the model's own element types as they
            are, ``int8`` and ``int4`` quantise as ``quantize`` does, with its usual settings.
        samples: An ``.npz`` of further inputs to judge the artifact by, and to choose integers by.
        force: Replace an artifact that is there.
        progress: Called with steps done, steps in all and what comes next.

    Returns:
        The artifact's folder and the plan.

    Raises:
        InvalidInputError: If an argument, the model or a sample cannot be taken.
        OutputExistsError: If the output exists and may not be replaced.
        UnsupportedMachineError: If this machine cannot compile for the target.
    """
    steps = _announce(progress, precision)
    if precision not in PRECISIONS:
        raise InvalidInputError(f"precision must be one of {', '.join(PRECISIONS)} (got {precision!r})")
    loaded = load_target(target)
    check_output(Path(output), own_files=artifact.own_files, force=force)
    obstacle = load_backend(loaded.backend).compile_obstacle(loaded)
    if obstacle is not None:
        raise UnsupportedMachineError(f"target {loaded.name} cannot be compiled for here: {obstacle}")
    next(steps)
    portable = read_portable(model)
    axes = parse_shape(shape, portable.axes)
    next(steps)
    gathered = gather_samples(portable, samples)
    source = Source(portable.path.name, portable.sha256, portable.path.stat().st_size)
    layers: tuple[LayerQuantization, ...] = ()
    with contextlib.ExitStack() as stack:
        if precision in BITS:
            next(steps)
            settings = Settings(precision)
            portable, layers = stack.enter_context(_quantized(portable, settings, gathered, samples))
        next(steps)
        plan = _plan(portable, loaded, axes)
        next(steps)
        tolerances = derive_tolerances(portable, gathered)
        folder = stack.enter_context(staged_folder(Path(output), own_files=artifact.own_files, force=force))
        next(steps)
        judged = _Judged(source, precision, gathered, tolerances)
        manifest = _write(portable, loaded, plan, axes, judged, folder, steps)
    return CompileResult(Path(output), loaded.name, manifest.plan, manifest.deployed_bytes, layers)


@contextlib.contextmanager
def _quantized(
    model: PortableModel, settings: Settings, samples: tuple[Sample, ...], own: str | Path | None
) -> Iterator[tuple[PortableModel, tuple[LayerQuantization, ...]]]:
    """Give a quantised copy of a portable model, in a temporary file, and what became of its layers."""
    judged = entering_rows(model.path, [sample.inputs for sample in samples])
    seen = None if own is None else entering_rows(model.path, read_inputs(Path(own)))
    layers = quantize_model(model, settings, judged, seen)
    with scratch_folder() as folder:
        path = folder / model.path.name
        write_model(model.graph, path)
        yield read_portable(path), layers


def derive_tolerances(model: PortableModel, samples: Sequence[Sample]) -> dict[str, Tolerance]:
    """Run the portable file in plain ONNX Runtime and derive each output's bound from its error.

    Raises:
        InvalidInputError: If the runtime cannot run it, its outputs are not those of the reference, or one
            holds NaN or infinity, which no bound can be derived from.
    """
    runs = [(inputs, sample.outputs) for sample in samples for inputs in nearby(sample.inputs)]
    found = run_stock(model.path, [inputs for inputs, _ in runs])
    tolerances = {}
    quantised = has_quantised_layers(layer.operator.name for layer in model.layers)
    for spec in model.outputs:
        pairs = [(own[spec.name], truth[spec.name]) for own, (_, truth) in zip(found, runs, strict=True)]
        for own, truth in pairs:
            if own.shape != truth.shape:
                raise InvalidInputError(
                    f"output {spec.name} has shape {own.shape} in plain ONNX Runtime and {truth.shape} in "
                    "the reference; export the model again"
                )
            if not np.isfinite(own).all():
                raise InvalidInputError(
                    f"output {spec.name} holds NaN or infinity in plain ONNX Runtime and none in the "
                    "reference; mend the weights, use a wider element type or give other samples"
                )
        own_error = worst(deviation(own, truth) for own, truth in pairs)
        tolerances[spec.name] = tolerance(own_error, spec.dtype, quantised=quantised)
    return tolerances


def _plan(model: PortableModel, target: Target, axes: dict[str, RowRange]) -> Plan:
    layers = [linear_layer(layer) for layer in model.layers]
    rows = {layer.name: layer_rows(leading_axes(layer), axes) for layer in model.layers}
    return plan_layers(layers, target, rows)


@dataclass(frozen=True)
class _Judged:
    """What an artifact comes from, and what it is judged by."""

    source: Source
    precision: str
    samples: tuple[Sample, ...]
    tolerances: dict[str, Tolerance]


def _write(
    model: PortableModel,
    target: Target,
    plan: Plan,
    axes: dict[str, RowRange],
    judged: _Judged,
    folder: Path,
    steps: Iterator[None],
) -> Manifest:
    """Fill an artifact's folder, the manifest last."""
    # The model changes in lowering: what is told of it comes first.
    size, dense_size = sizes(model)
    records = tuple(map(layer_record, model.layers))
    _write_reference(model, judged, folder)
    lowered = load_backend(target.backend).lower(model.graph, plan, target, folder)
    next(steps)
    roles: dict[str, Role] = {artifact.SAMPLES: "reference", **lowered.files}
    if records:
        roles[artifact.FACTORS] = "reference"
    files = artifact.store(folder, roles)
    manifest = Manifest(
        format_version=artifact.FORMAT_VERSION,
        tool=f"{artifact.TOOL}{__version__}",
        libraries=_library_versions(),
        source=judged.source,
        target=target,
        precision=judged.precision,
        operators=_operators(lowered),
        inputs=model.inputs,
        outputs=model.outputs,
        axes=axes,
        size=size,
        dense_size=dense_size,
        deployed_bytes=sum(file.bytes for file in files if file.role != "reference"),
        layers=records,
        plan=_as_lowered(plan, lowered),
        tolerance=judged.tolerances,
        samples=len(judged.samples),
        files=files,
    )
    (folder / artifact.MANIFEST).write_bytes(artifact.encode(manifest))
    return manifest


def _write_reference(model: PortableModel, judged: _Judged, folder: Path) -> None:
    path = folder / artifact.SAMPLES
    path.parent.mkdir()
    reference.save(Reference(judged.source.sha256, judged.samples), path)
    if not model.layers:
        return
    factors = []
    for layer in model.layers:
        sizes = layer.out_features, layer.in_features
        factors.append(
            LayerFactors(layer.name, layer.operator.name, *sizes, layer.tensors(), layer.attributes)
        )
    save_factors(factors, folder / artifact.FACTORS)


def _as_lowered(plan: Plan, lowered: Lowered) -> Plan:
    """The plan with what came of it in lowering."""
    layers = (
        replace(
            layer,
            epilogue=lowered.epilogues.get(layer.layer, Epilogue()),
            grouped_with=lowered.groups.get(layer.layer, ()),
            schedule=lowered.schedules.get(layer.layer, ""),
        )
        for layer in plan.layers
    )
    return replace(plan, layers=tuple(layers))


def _operators(lowered: Lowered) -> Operators:
    return Operators(lowered.operators, lowered.runtime, lowered.oldest_runtime, lowered.instruction_set)


def _library_versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _announce(progress: Progress | None, precision: str) -> Iterator[None]:
    """Tell each step before it begins."""
    steps = [step for step in _STEPS if step != _QUANTISE or precision in BITS]
    for index, step in enumerate(steps):
        if progress is not None:
            progress(index, len(steps), step)
        yield
