"""A planned model to what ONNX Runtime runs: packed layers, multiplied-out ones, inlined bodies."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import onnxruntime

from blast_deploy import runtime
from blast_deploy.artifact import Role
from blast_deploy.backends.contract import Lowered
from blast_deploy.backends.onnxruntime.machine import resolve_instruction_set
from blast_deploy.backends.onnxruntime.options import options_of
from blast_deploy.backends.onnxruntime.schedules import describe_schedules
from blast_deploy.passes.densify import Densify
from blast_deploy.passes.dequantize import Dequantize
from blast_deploy.passes.fuse_epilogues import FuseEpilogues, epilogues_of
from blast_deploy.passes.group_layers import GroupLayers
from blast_deploy.passes.identity import groups_of
from blast_deploy.passes.inline_functions import InlineFunctions
from blast_deploy.passes.pack_blast import PackBlast
from blast_deploy.passes.pack_gblr import PackGblr
from blast_deploy.passes.pack_quantized import PackQuantized
from blast_deploy.passes.save import save_mapped
from blast_deploy.passes.structured import LAYER_OPERATORS
from blast_deploy.planning.schedule import limits_of
from blast_deploy.results import Form, Plan
from blast_deploy.structures.contract import (
    BLAST_LINEAR,
    DOMAIN,
    GBLR_LINEAR,
    OPERATORS,
    Q_BLAST_LINEAR,
    Operator,
)
from blast_deploy.targets import Target

MODEL = "model.onnx"

_OLDEST_RUNTIME_IR, _OLDEST_RUNTIME_OPSET = 10, 21
_OLDEST_RUNTIME_OF_BLOCKS = "1.19"
"""The first ONNX Runtime whose DequantizeLinear takes scales of blocks."""


def lower_model(model: ir.Model, plan: Plan, target: Target, folder: Path) -> Lowered:
    """Make the planned forms real and write the model.

    A body is inlined, not called: with the library registered a call would run the library's kernel, and
    only inlined nodes bear the layer's name when the runtime tells what ran.

    Args:
        model: The portable model; it is changed.
        plan: A form for each of its structured layers.
        target: Where it will run.
        folder: Where to write.
    """
    options = options_of(target)
    instruction_set = resolve_instruction_set(options) if options.operator_library else None
    schedules: dict[str, str] = {}
    integer_kernels = _layers(plan, "kernel", Q_BLAST_LINEAR)
    float_kernels = [*_layers(plan, "kernel", BLAST_LINEAR), *_layers(plan, "dequantised")]
    InlineFunctions(_layers(plan, "body"))(model)
    Densify(_layers(plan, "dense"))(model)
    if instruction_set is not None:
        limits = limits_of(target.costs)
        Dequantize(_layers(plan, "dequantised"))(model)
        schedules = describe_schedules(model, float_kernels, plan.rows, limits)
        PackBlast(float_kernels, instruction_set, limits)(model)
        PackQuantized(integer_kernels, instruction_set)(model)
        PackGblr(_layers(plan, "kernel", GBLR_LINEAR), instruction_set, limits)(model)
        FuseEpilogues()(model)
    epilogues = epilogues_of(model)
    GroupLayers()(model)
    files: dict[str, Role] = {
        file.name: "model" if file.name == MODEL else "weights" for file in save_mapped(model, folder / MODEL)
    }
    return Lowered(
        files=files,
        operators=_operators(model),
        runtime="onnxruntime",
        oldest_runtime=_oldest_runtime(model),
        instruction_set=instruction_set,
        epilogues=epilogues,
        groups=groups_of(model),
        schedules=schedules,
    )


def _layers(plan: Plan, form: Form, operator: Operator | None = None) -> list[str]:
    return [
        layer.layer
        for layer in plan.layers
        if layer.form == form and operator in (None, LAYER_OPERATORS[layer.operator])
    ]


def _operators(model: ir.Model) -> dict[str, int]:
    used = {node.op_type for node in model.graph.all_nodes() if node.domain == DOMAIN}
    return {operator.name: operator.since_version for operator in OPERATORS if operator.name in used}


def _oldest_runtime(model: ir.Model) -> str:
    """The oldest runtime known to serve; for newer files than this tool exports, the one at hand."""
    opset = model.opset_imports.get("") or 0
    if model.ir_version <= _OLDEST_RUNTIME_IR and opset <= _OLDEST_RUNTIME_OPSET:
        blocks = any(node.op_type == "DequantizeLinear" for node in model.graph.all_nodes())
        return _OLDEST_RUNTIME_OF_BLOCKS if blocks else runtime.OLDEST
    release = onnxruntime.__version__.split(".")
    return ".".join(release[:2])
