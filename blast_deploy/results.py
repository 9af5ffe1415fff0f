"""What the stages return: frozen, free of torch and of any backend, and writable as JSON."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

Form = Literal["kernel", "body", "dense", "dequantised"]
CostName = Literal["kernel", "body", "dense", "quantized_kernel", "gblr_kernel"]
"""Sets of constants of the time model; the last two are those of other structures' kernels than BLAST's."""
Verdict = Literal["passed", "failed", "unjudged"]
Activation = Literal["none", "gelu", "gelu_tanh", "silu"]
Rate = Annotated[float, msgspec.Meta(ge=1e-6, le=1e12)]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a linear layer costs, whatever computes it.

    Attributes:
        parameters: Stored weights, bias excluded.
        flops_per_row: Floating-point operations for one input row (a multiply-add counts two).
    """

    parameters: int
    flops_per_row: int


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """Name, ONNX element type in NumPy's spelling, and shape with names for dynamic axes."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclasses.dataclass(frozen=True)
class LayerIntervals:
    """Which rows (u) and columns (v) each component of a GBLR layer covers, on axes that are circles."""

    u_start: tuple[int, ...]
    u_width: tuple[int, ...]
    v_start: tuple[int, ...]
    v_width: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class LayerCompression:
    """One layer before and after compression; errors are relative to the dense weight.

    For GBLR there is one block, and the rank is the number of components.
    """

    name: str
    out_features: int
    in_features: int
    blocks: tuple[int, int]
    rank: int
    parameters: int
    dense_parameters: int
    relative_error: float
    """Frobenius norm of the difference over that of the dense weight."""
    activation_error: float | None
    """The same in the norm of the calibration inputs; None where there was no calibration."""
    cpu_seconds: float
    resumed: bool = False
    structure: str = "blast"
    indices: int = 0
    """Whole numbers stored beside the parameters, where a structure needs them."""
    intervals: LayerIntervals | None = None
    """What the components cover, where it is GBLR."""


@dataclasses.dataclass(frozen=True)
class CompressionResult:
    """A compressed model: the torch module, and where it was written if it was."""

    structure: str
    method: str
    keep: float
    parameters: int
    dense_parameters: int
    cpu_seconds: float
    layers: tuple[LayerCompression, ...]
    path: Path | None = None
    module: Any = dataclasses.field(default=None, repr=False, metadata={"json": False})


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """A portable ONNX file and the float64 reference beside it."""

    path: Path
    reference: Path | None
    opset: int
    ir_version: int
    bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    structured_layers: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class LayerQuantization:
    """One layer before and after quantisation."""

    name: str
    bits: int | None
    """Of its factors now; None where it stayed as it was."""
    error: float | None
    """Root mean square of the change of its output over that of the output; None where it was not tried."""
    bytes: int
    """Of its factors now."""
    float_bytes: int
    """Of its factors before."""
    reason: str
    """Why it stayed as it was; empty where it did not."""


@dataclasses.dataclass(frozen=True)
class QuantizationResult:
    """A portable file with quantised layers, and the float64 reference beside it if there is one."""

    path: Path
    reference: Path | None
    precision: str
    activation: str
    max_error: float
    """Budget of each layer."""
    judged_on: str
    """What the errors were measured on, in words."""
    bytes: int
    """Of the model and its external weights."""
    float_bytes: int
    """The same before."""
    layers: tuple[LayerQuantization, ...]


@dataclasses.dataclass(frozen=True)
class Accepted:
    """A form that can compute a layer on a target, with its modelled time per call."""

    form: Form
    microseconds: float


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A form that cannot, and why."""

    form: Form
    reason: str


@dataclasses.dataclass(frozen=True)
class Epilogue:
    """What a layer's node does to the layer's output: first the activation, then a residual is added."""

    activation: Activation = "none"
    residual: bool = False

    def __str__(self) -> str:
        parts = [self.activation] if self.activation != "none" else []
        return " and ".join([*parts, "residual"] if self.residual else parts)


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """The form chosen for one layer, the reason, what else was considered, and what its node does beside."""

    layer: str
    operator: str
    form: Form
    reason: str
    accepted: tuple[Accepted, ...]
    rejected: tuple[Rejected, ...]
    epilogue: Epilogue = Epilogue()
    grouped_with: tuple[str, ...] = ()
    """Other layers that the same node computes."""
    schedule: str = ""
    """How its kernel is cut for the plan's rows."""

    @property
    def described(self) -> str:
        """The form, with what its node does beside."""
        form = f"{self.form} with {self.epilogue}" if self.epilogue != Epilogue() else self.form
        return f"{form}, grouped with {' and '.join(self.grouped_with)}" if self.grouped_with else form


@dataclasses.dataclass(frozen=True)
class Plan:
    """The forms of all structured layers of a model on a target, for the rows it was made for."""

    target: str
    rows: tuple[int, int]
    """Fewest and most rows (product of the leading axes) for which the plan was made."""
    layers: tuple[LayerPlan, ...]


@dataclasses.dataclass(frozen=True)
class CompileResult:
    """An artifact folder and the plan it was compiled to."""

    path: Path
    target: str
    plan: Plan
    bytes: int
    quantization: tuple[LayerQuantization, ...] = ()
    """What became of every layer where the precision is not fp32."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One tensor (an output of the model, or of a layer) against float64 truth, and why the verdict.

    Errors and bounds are relative: to the truth's root mean square (``rms``) and, for the largest
    deviation, to its largest magnitude (``max``).
    """

    subject: str
    verdict: Verdict
    reason: str
    rms_error: float
    max_error: float
    rms_bound: float
    max_bound: float


@dataclasses.dataclass(frozen=True)
class VerificationResult:
    """The verdict on an artifact, with every number it rests on."""

    artifact: Path
    verdict: Verdict
    reasons: tuple[str, ...]
    """Why it failed or could not be judged; empty when it passed."""
    outputs: tuple[Comparison, ...]
    layers: tuple[Comparison, ...]
    kernels: dict[str, str]
    """Layer to the operator type that ran it."""
    compression_loss: dict[str, float] | None
    """Output name to relative error of the compressed against the original dense model, in float64."""
    summary: tuple[str, ...] = ()
    """What was compared over what, what ran, and what could not be computed, whatever the verdict."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """Times of one contender for one input shape in milliseconds; memory as growth of its process in MiB."""

    name: str
    path: Path
    runtime: str
    """What ran it, in words."""
    shape: dict[str, int]
    median_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    spread_ms: float
    """Interquartile range."""
    runs: int
    bytes_on_disk: int
    peak_memory_mb: float | None
    resident_memory_mb: float | None
    private_memory_mb: float | None
    """The part of resident memory that no file backs."""


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Baseline time over contender time: above 1 the contender is faster."""

    contender: str
    baseline: str
    shape: dict[str, int]
    median: float
    ci95: tuple[float, float]
    word: Literal["faster", "slower", "no difference", "unjudged"]


@dataclasses.dataclass(frozen=True)
class BenchmarkResult:
    """Interleaved timings of an artifact against its baselines."""

    clock: Literal["thread CPU time", "wall time"]
    threads: int
    machine: dict[str, str]
    load: float | None
    """Mean CPUs' worth of other processes' work during the run, 0 on a quiet machine; None if unknown."""
    judged: bool
    reasons: tuple[str, ...]
    """Why the timings cannot be judged; empty when they can."""
    contenders: tuple[Contender, ...]
    ratios: tuple[Ratio, ...]


@dataclasses.dataclass(frozen=True)
class QualityMetric:
    """One measure of how well a model does its task; higher is better."""

    name: str
    value: float
    original: float
    """The same measure of the dense original."""


@dataclasses.dataclass(frozen=True)
class QualityResult:
    """How well a compressed model does its task, beside its dense original."""

    subject: Path
    """The artifact or model file that was judged."""
    original: Path
    """Its dense original."""
    protocol: str
    """What was measured on what, in a sentence."""
    metrics: tuple[QualityMetric, ...]


class MachinePeaks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one core of a machine can do at most: the roofs under which every kernel runs.

    Attributes:
        gigaflops: Instruction set to 10^9 operations a second of float multiply-adds in registers (a
            multiply-add counts two), for each that the machine can run, best first.
        gigabytes_per_second: Level (``L1`` ... and ``memory``) to 10^9 bytes a second at which it is read.
        cache_bytes: Level of cache to its size; one that other cores share counts whole.
        cache_origin: Whether the sizes are the system's word or, where it has none, assumed.
    """

    gigaflops: dict[str, Rate]
    gigabytes_per_second: dict[str, Rate]
    cache_bytes: dict[str, int]
    cache_origin: Literal["system", "assumed"]


@dataclasses.dataclass(frozen=True)
class FittedCosts:
    """Constants of the time model of one form or kernel, and how well it gives the measured times."""

    name: CostName
    constants: dict[str, float]
    lowest: float
    """Least modelled over measured time of all cases."""
    median: float
    highest: float
    within_tenth: float
    """Share of the cases whose modelled time is within 10% of the measured one."""


@dataclasses.dataclass(frozen=True)
class CalibrationResult:
    """What a machine's calibration found, and the target file that it was written to."""

    path: Path | None
    """None where it could not be judged: nothing is written then."""
    instruction_set: str
    machine: dict[str, str]
    load: float | None
    """Mean CPUs' worth of other processes' work meanwhile; None if unknown."""
    reasons: tuple[str, ...]
    """Why it could not be judged; empty when it could."""
    cases: int
    """Layers and rows that were timed."""
    seconds: float
    peaks: MachinePeaks | None
    costs: tuple[FittedCosts, ...]


@dataclasses.dataclass(frozen=True)
class ReportResult:
    """A self-contained HTML page."""

    path: Path
    bytes: int


@dataclasses.dataclass(frozen=True)
class InspectedLayer:
    """One structured layer as a file describes it; form and reason where there is a plan."""

    name: str
    operator: str
    dtype: str
    out_features: int
    in_features: int
    description: str
    """The structure's own sizes, in words."""
    parameters: int
    dense_parameters: int
    form: Form | None = None
    reason: str | None = None
    epilogue: str | None = None
    """What the layer's node does beside, in words."""
    grouped_with: tuple[str, ...] = ()
    """Other layers that the same node computes."""
    schedule: str | None = None
    """How its kernel is cut for the plan's rows, in words."""
    intervals: LayerIntervals | None = None
    """What the components cover, where it is GBLR."""


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What is in a model folder, a portable ONNX file or an artifact."""

    path: Path
    kind: Literal["model folder", "portable model", "artifact"]
    bytes: int
    """Of the weights; for an artifact of everything that is deployed."""
    dense_bytes: int
    """Of the weights if the structured layers were multiplied out."""
    parameters: int
    dense_parameters: int
    flops_per_row: int | None
    """Operations for one row in all layers with weights, each counted once; None where only a graph tells."""
    dense_flops_per_row: int | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[InspectedLayer, ...]
    facts: dict[str, str]
    """What else the file says of itself, in words."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that the machine has or lacks."""

    subject: str
    present: bool
    needed: bool
    """Whether the installation is broken without it."""
    detail: str
    remedy: str
    """What to do where it is missing; empty where it is not."""


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """This machine and installation."""

    machine: dict[str, str]
    findings: tuple[Finding, ...]
    healthy: bool
    """Whether nothing that is needed is missing."""


def to_json(result: Any) -> bytes:
    """Write any result as indented JSON, leaving out what cannot be written (such as a torch module)."""
    return msgspec.json.format(msgspec.json.encode(_plain(result), enc_hook=str), indent=2)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.metadata.get("json", True)
        }
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
