"""Results as tables on standard output."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from blast_deploy.results import (
    BenchmarkResult,
    CalibrationResult,
    Comparison,
    CompileResult,
    CompressionResult,
    Contender,
    Diagnosis,
    ExportResult,
    InspectedLayer,
    Inspection,
    LayerQuantization,
    QuantizationResult,
    Ratio,
    ReportResult,
    TensorSpec,
    VerificationResult,
)

if TYPE_CHECKING:
    from blast_deploy.targets import TargetStatus

PLAIN_WIDTH = 200
"""Columns to write for where there is no terminal that has a width."""


def print_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; a header that starts with ``>`` has its column aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for header in headers:
        right = header.startswith(">")
        justify: Literal["left", "right"] = "right" if right else "left"
        table.add_column(header.removeprefix(">"), justify=justify, no_wrap=right, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    Console(width=width, highlight=False).print(table)


def print_compression(result: CompressionResult) -> None:
    """Print every layer and the total."""
    rows = [
        (
            layer.name,
            f"{layer.out_features} x {layer.in_features}",
            f"{layer.blocks[0]} x {layer.blocks[1]}" if layer.structure == "blast" else "intervals",
            str(layer.rank),
            _percent(layer.parameters / layer.dense_parameters),
            f"{layer.relative_error:.4f}",
            "" if layer.activation_error is None else f"{layer.activation_error:.4f}",
            "resumed" if layer.resumed else f"{layer.cpu_seconds:.2f}",
        )
        for layer in result.layers
    ]
    headers = ("layer", ">size", ">blocks", ">rank", ">kept", ">error", ">error on inputs", ">CPU s")
    print_table(f"{result.structure}, {result.method}", headers, rows)
    kept = _percent(result.parameters / result.dense_parameters)
    print(
        f"{len(result.layers)} layers keep {result.parameters:,} of {result.dense_parameters:,} parameters "
        f"({kept}); {result.cpu_seconds:.1f} CPU seconds"
    )
    if result.path is not None:
        print(f"written to {result.path}")


def print_export(result: ExportResult) -> None:
    """Print what the portable file holds."""
    print(
        f"{result.path}: {_megabytes(result.bytes)}, opset {result.opset}, "
        f"{len(result.structured_layers)} structured layers"
    )
    print(f"inputs  {_specs(result.inputs)}\noutputs {_specs(result.outputs)}")
    if result.reference is not None:
        print(f"float64 reference: {result.reference}")


def print_quantization(result: QuantizationResult) -> None:
    """Print every layer's error and size, and the total."""
    rows = [
        (
            layer.name,
            f"int{layer.bits}" if layer.bits is not None else "as it was",
            "" if layer.error is None else f"{layer.error:.4f}",
            _percent(layer.bytes / layer.float_bytes),
            layer.reason,
        )
        for layer in result.layers
    ]
    title = f"{result.precision}, activations {result.activation}, errors on {result.judged_on}"
    print_table(title, ("layer", "factors", ">error", ">bytes", "why not"), rows)
    print(_quantized_of(result.layers) + f" (budget {result.max_error:g})")
    print(f"{result.path}: {_megabytes(result.bytes)}, before {_megabytes(result.float_bytes)}")


def _quantized_of(layers: Sequence[LayerQuantization]) -> str:
    count = sum(layer.bits is not None for layer in layers)
    return f"{count} of {len(layers)} structured layers quantised"


def print_compilation(result: CompileResult) -> None:
    """Print the plan and the artifact's size."""
    rows = [(layer.layer, layer.described, layer.reason) for layer in result.plan.layers]
    fewest, most = result.plan.rows
    print_table(f"plan for {result.target}, {fewest} to {most} rows", ("layer", "form", "reason"), rows)
    counts = Counter(layer.form for layer in result.plan.layers)
    forms = ", ".join(f"{count} {form}" for form, count in counts.items()) or "no structured layers"
    if result.quantization:
        print(_quantized_of(result.quantization))
    print(f"{result.path}: {_megabytes(result.bytes)}, {forms}")


def print_verification(result: VerificationResult) -> None:
    """Print every comparison, the compression loss apart, and the verdict."""
    if result.outputs:
        _print_comparisons("outputs against float64", result.outputs, {})
    if result.layers:
        _print_comparisons("layers against float64", result.layers, result.kernels)
    for name, loss in (result.compression_loss or {}).items():
        print(f"compression loss of {name} (against the dense original, no part of the verdict): {loss:.4f}")
    for line in result.summary:
        print(line)
    for reason in result.reasons:
        print(f"- {reason}")
    print(f"{result.artifact}: {result.verdict}")


def print_benchmark(result: BenchmarkResult) -> None:
    """Print times and ratios for each shape, and then memory."""
    threads = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    ratios = {(ratio.baseline, _shape(ratio)): ratio for ratio in result.ratios}
    headers = ("contender", ">median ms", ">P90", ">P99", "time over the artifact's")
    for shape in dict.fromkeys(map(_shape, result.contenders)):
        rows = [
            (
                item.name,
                f"{item.median_ms:.3f}",
                f"{item.p90_ms:.3f}",
                f"{item.p99_ms:.3f}",
                _ratio(ratios.get((item.name, shape))),
            )
            for item in result.contenders
            if _shape(item) == shape
        ]
        print_table(f"{shape}, {threads}, {result.clock}", headers, rows)
    memory = [
        (
            _shape(item),
            item.name,
            _megabytes(item.bytes_on_disk),
            _optional(item.peak_memory_mb),
            _optional(item.resident_memory_mb),
            _optional(item.private_memory_mb),
        )
        for item in result.contenders
    ]
    kinds = ("shape", "contender", ">on disk", ">peak", ">resident", ">private")
    print_table("memory in a process of its own, MiB", kinds, memory)
    load = "unknown" if result.load is None else f"{result.load:.2f} CPUs"
    print(f"{result.machine.get('processor', 'unknown processor')}; other work meanwhile: {load}")
    for reason in result.reasons:
        print(f"not judged: {reason}")


def print_report(result: ReportResult) -> None:
    """Print where the page is."""
    print(f"{result.path}: {result.bytes / 1e3:.0f} kB")


def print_inspection(result: Inspection) -> None:
    """Print sizes, facts and layers."""
    print(f"{result.path}: {result.kind}")
    facts = {
        "parameters": f"{result.parameters:,} (dense {result.dense_parameters:,})",
        "bytes": f"{_megabytes(result.bytes)} (dense {_megabytes(result.dense_bytes)})",
        "inputs": _specs(result.inputs),
        "outputs": _specs(result.outputs),
        **result.facts,
    }
    print_table("", ("fact", "value"), list(facts.items()))
    rows = [
        (
            layer.name,
            layer.operator,
            layer.dtype,
            f"{layer.out_features} x {layer.in_features}",
            layer.description,
            _percent(layer.parameters / layer.dense_parameters),
            _form(layer),
            "; cut ".join(filter(None, (layer.reason, layer.schedule))),
        )
        for layer in result.layers
    ]
    headers = ("layer", "operator", "dtype", ">size", "structure", ">kept", "form", "reason")
    print_table(f"{len(rows)} structured layers", headers, rows)


def _form(layer: InspectedLayer) -> str:
    form = " with ".join(filter(None, (layer.form, layer.epilogue)))
    return f"{form}, grouped with {' and '.join(layer.grouped_with)}" if layer.grouped_with else form


def print_targets(targets: Sequence[TargetStatus]) -> None:
    """Print each target and what this machine can do with it."""
    rows = [
        (target.name, _yes(target.compiles_here), _yes(target.runs_here), target.summary, target.reason)
        for target in targets
    ]
    print_table("targets", ("target", "compiles here", "runs here", "promise", "why not"), rows)


def print_diagnosis(result: Diagnosis) -> None:
    """Print the machine, what it has, and what mends what it lacks."""
    print_table("machine", ("what", "is"), list(result.machine.items()))
    rows = [
        (finding.subject, "ok" if finding.present else "missing", finding.detail, finding.remedy)
        for finding in result.findings
    ]
    print_table("installation", ("part", "state", "detail", "remedy"), rows)
    print("nothing that is needed is missing" if result.healthy else "something that is needed is missing")


def print_calibration(result: CalibrationResult) -> None:
    """Print the machine's peaks, and each form's constants with how well they fit."""
    if result.peaks is not None:
        rates = [(name, f"{rate:.1f} GFLOP/s") for name, rate in result.peaks.gigaflops.items()]
        rates += [
            (f"reading {level}", f"{rate:.1f} GB/s")
            for level, rate in result.peaks.gigabytes_per_second.items()
        ]
        print_table("peaks of one core", ("what", ">at most"), rates)
    rows = [
        (
            each.name.replace("_", " "),
            ", ".join(f"{name} {value:.3g}" for name, value in each.constants.items()),
            f"{each.lowest:.2f} to {each.highest:.2f}",
            _percent(each.within_tenth),
        )
        for each in result.costs
    ]
    headers = ("form", "constants", ">modelled over measured", ">within 10%")
    print_table(f"{result.cases} cases, {result.instruction_set}", headers, rows)
    load = "unknown" if result.load is None else f"{result.load:.2f} CPUs"
    print(f"{result.seconds:.0f} s; other work meanwhile: {load}")
    for reason in result.reasons:
        print(f"not judged: {reason}")
    if result.path is not None:
        print(f"written to {result.path}; use it as --target {result.path}")


def _print_comparisons(title: str, comparisons: Sequence[Comparison], kernels: dict[str, str]) -> None:
    rows = [
        (
            item.subject,
            kernels.get(item.subject, ""),
            f"{item.rms_error:.1e}",
            f"{item.rms_bound:.1e}",
            f"{item.max_error:.1e}",
            f"{item.max_bound:.1e}",
            item.verdict,
            item.reason,
        )
        for item in comparisons
    ]
    headers = ("tensor", "run by", ">RMS error", ">bound", ">largest error", ">bound", "verdict", "reason")
    print_table(title, headers, rows)


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio.median:.2f} ({ratio.ci95[0]:.2f} to {ratio.ci95[1]:.2f}): {ratio.word}"


def _shape(item: Contender | Ratio) -> str:
    return ",".join(f"{axis}={size}" for axis, size in item.shape.items()) or "fixed"


def _specs(specs: Sequence[TensorSpec]) -> str:
    return "; ".join(f"{spec.name} {spec.dtype} ({', '.join(map(str, spec.shape))})" for spec in specs)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}%"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _optional(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
