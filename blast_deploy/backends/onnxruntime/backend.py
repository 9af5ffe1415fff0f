"""The backend's entry points; see ``backends/contract.py``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from blast_deploy import runtime
from blast_deploy.artifact import Artifact
from blast_deploy.backends.contract import Lowered
from blast_deploy.backends.onnxruntime.machine import instruction_set_obstacle, library_obstacle
from blast_deploy.backends.onnxruntime.options import options_of
from blast_deploy.errors import InvalidInputError, UnsupportedMachineError
from blast_deploy.planning.layer import LinearLayer
from blast_deploy.results import Form, Plan, Rejected
from blast_deploy.runner import Runner
from blast_deploy.structures.contract import OPERATORS
from blast_deploy.targets import Target

if TYPE_CHECKING:
    import onnx_ir as ir

_PACKED_TYPES = {
    "BlastLinear": "BlastLinearPacked",
    "QBlastLinear": "QBlastLinearPacked",
    "GblrLinear": "GblrLinearPacked",
}
_ONNX_TYPES = {"float32": "float", "float64": "double"}


def check_options(target: Target) -> None:
    """Refuse options that this backend does not know."""
    options = options_of(target)
    if options.operator_library and target.costs.kernel is None:
        raise InvalidInputError("`costs.kernel` is needed with operator_library = true; add it")


def compile_obstacle(target: Target) -> str | None:
    """Why this machine cannot compile for the target: without the library nothing can be packed."""
    return runtime.obstacle() or (library_obstacle() if options_of(target).operator_library else None)


def run_obstacle(target: Target) -> str | None:
    """Why this machine cannot run what was compiled for the target."""
    options = options_of(target)
    obstacle = runtime.obstacle() or (library_obstacle() if options.operator_library else None)
    if obstacle is not None or not options.operator_library or options.instruction_set == "native":
        return obstacle
    return instruction_set_obstacle(options.instruction_set)


def rejected_forms(target: Target, layer: LinearLayer) -> tuple[Rejected, ...]:
    """The kernels where there are none for the layer, and standard operators where the runtime lacks them."""
    return (*_rejected_kernels(target, layer), *_rejected_operators(layer))


def _rejected_kernels(target: Target, layer: LinearLayer) -> tuple[Rejected, ...]:
    if not options_of(target).operator_library:
        reason = f"target {target.name} runs without the operator library"
        kernels: tuple[Form, ...] = ("kernel", "dequantised")
        return tuple(Rejected(form, reason) for form in kernels if form in layer.work)
    if "kernel" not in layer.work:
        return ()
    packed = next((each for each in OPERATORS if each.name == _PACKED_TYPES.get(layer.operator)), None)
    if packed is None:
        return (Rejected("kernel", f"the operator library has no packed kernel for {layer.operator}"),)
    if _ONNX_TYPES.get(layer.dtype, layer.dtype) not in packed.kernel_types:
        return (Rejected("kernel", f"the operator library has no {layer.dtype} kernel of {layer.operator}"),)
    return ()


def _rejected_operators(layer: LinearLayer) -> tuple[Rejected, ...]:
    if layer.dtype != "bfloat16":
        return ()
    reason = "ONNX Runtime has no bfloat16 MatMul on the CPU"
    return Rejected("body", reason), Rejected("dense", reason)


def lower(model: ir.Model, plan: Plan, target: Target, folder: Path) -> Lowered:
    """Write the model in its planned forms; see ``lowering.py``."""
    from blast_deploy.backends.onnxruntime.lowering import lower_model

    return lower_model(model, plan, target, folder)


def open(artifact: Artifact, threads: int | None) -> Runner:
    """Open an artifact; see ``session_runner.py``."""
    obstacle = runtime.import_obstacle()
    if obstacle is not None:
        raise UnsupportedMachineError(f"{artifact.path} cannot run here: {obstacle}")
    from blast_deploy.backends.onnxruntime.session_runner import SessionRunner

    return SessionRunner(artifact, threads)
