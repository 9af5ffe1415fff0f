"""Portable ONNX to portable ONNX with quantised layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from blast_deploy import reference
from blast_deploy.model_files import check_apart, check_output, model_bytes, staged_files, write_model
from blast_deploy.model_paths import reference_path
from blast_deploy.portable import read_portable
from blast_deploy.quantization import RANDOM_ROWS, Settings, entering_rows, quantize_model, random_rows
from blast_deploy.reference import Reference, Sample
from blast_deploy.results import QuantizationResult
from blast_deploy.samples import gather_samples, read_inputs
from blast_deploy.structures.quantized_blast.matrix import check_activation

Progress = Callable[[int, int, str], None]


def quantize(
    model: str | Path,
    output: str | Path,
    *,
    precision: str = "int8",
    activation: str = "int8",
    max_error: float | None = None,
    block_size: int = 32,
    samples: str | Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> QuantizationResult:
    """Quantise the structured layers of a portable ONNX file.

    Every layer's error is measured against the layer as it was, in float64, on the rows that the samples
    really feed it; a layer that loses more than the budget stays as it is, and the result says so. The
    float64 reference goes along: what the quantised file is judged by stays what the float model gives.

    Args:
        model: The file; the reference that export wrote beside it is used and taken along.
        output: The file to write, ending in ``.onnx``.
        precision: ``int8``, or ``int4`` for the outer factors; the couplings always have 8 bits.
        activation: ``int8``: layers quantise what enters them and their inner vectors too, which kernels
            compute fastest. ``float``: they do not.
        max_error: What each layer may lose: root mean square of the change of its output, relative; by
            default 0.025 for int8 and 0.2 for int4.
        block_size: 32 or 64: values that share a scale in int4.
        samples: An ``.npz`` of inputs such as the model will see, to choose the integers by; hundreds of rows
            help a little. Without a reference beside the model the errors are measured on them too.
        force: Replace files that exist.
        progress: Called with steps done, steps in all and what comes next.

    Raises:
        InvalidInputError: If an argument, the model or a sample cannot be taken, or no layer stays within the
            budget.
        OutputExistsError: If a file exists and ``force`` is not given.
    """
    settings = Settings(precision, check_activation(activation), max_error, block_size)
    path = Path(output)
    check_output(path, force)
    portable = read_portable(model)
    check_apart(path, portable.path, portable.graph)
    before = model_bytes(portable.path)
    steps = _Steps(len(portable.layers) + 2, progress)
    steps.next("run the samples")
    own = None if samples is None else read_inputs(Path(samples))
    beside = reference_path(portable.path).is_file()
    kept: tuple[Sample, ...] = ()
    if beside or samples is not None:
        # A reference that is there judges; inputs that the user brings are for choosing by.
        kept = gather_samples(portable, None if beside else samples)
    judged = (
        entering_rows(portable.path, [sample.inputs for sample in kept]) if kept else random_rows(portable)
    )
    seen = entering_rows(portable.path, own) if own is not None else None
    layers = quantize_model(portable, settings, judged, seen, steps.next)
    steps.next("write the file")
    with staged_files(path, force) as staged:
        write_model(portable.graph, staged)
        if kept:
            reference.save(Reference(reference.sha256(staged), kept), reference_path(staged))
    return QuantizationResult(
        path=path,
        reference=reference_path(path) if kept else None,
        precision=precision,
        activation=activation,
        max_error=settings.budget,
        judged_on="the reference's samples" if beside else "the samples given" if kept else RANDOM_ROWS,
        bytes=model_bytes(path),
        float_bytes=before,
        layers=layers,
    )


class _Steps:
    """Tells each step before it begins."""

    def __init__(self, total: int, report: Progress | None) -> None:
        self._total, self._report, self._done = total, report, 0

    def next(self, description: str) -> None:
        if self._report is not None:
            self._report(self._done, self._total, description)
        self._done += 1
