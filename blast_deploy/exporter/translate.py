"""A torch module as an ONNX graph with ``ai.blast`` nodes and their function body."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from onnxscript import opset20
from torch import nn

import blast_deploy
from blast_deploy.errors import InvalidInputError
from blast_deploy.exporter.call import Axes, Call
from blast_deploy.passes.bodies import body
from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.passes.recognise_gelu import RecogniseGelu
from blast_deploy.passes.swap_last_axes import SwapLastAxes
from blast_deploy.structures.blast import module as _blast_module  # noqa: F401  (registers the operator)
from blast_deploy.structures.blast import operator as blast
from blast_deploy.structures.contract import DOMAIN, IR_VERSION, OPSET
from blast_deploy.structures.gblr import module as _gblr_module  # noqa: F401  (registers the operator)
from blast_deploy.structures.gblr import operator as gblr


def translate(
    module: nn.Module, call: Call, axes: Axes, output_names: Sequence[str] | None, prefix: str
) -> ir.Model:
    """Export a module.

    torch's exporter inlines every function, so the layers are translated to bare nodes, and the body is
    added to the finished model.

    Args:
        module: On the CPU, in evaluation mode.
        call: Example arguments; inputs take their names from it.
        axes: Dynamic axes by input name.
        output_names: Names of the outputs, or None for torch's own.
        prefix: What to take off the front of parameter names to get the names of layers.

    Raises:
        InvalidInputError: If torch cannot export the module, with the cause.
    """
    shapes = call.dynamic_shapes(axes)
    try:
        with quiet():
            program = torch.onnx.export(
                module,
                call.positional,
                kwargs=call.keywords,
                input_names=list(call.names),
                output_names=None if output_names is None else list(output_names),
                opset_version=OPSET,
                dynamic_shapes=shapes,
                dynamo=True,
                custom_translation_table=_bare_nodes(),
                verbose=False,
            )
    except Exception as error:  # torch raises many types, and those of the module's own code
        raise InvalidInputError(
            f"torch cannot export this module ({root_cause(error)}); check it with the example inputs and "
            "dynamic axes"
        ) from error
    if program is None:
        raise InvalidInputError("torch gave no model for this module; check it with the example inputs")
    return _finish(program.model, prefix)


def _finish(model: ir.Model, prefix: str) -> ir.Model:
    """Take out torch's traces of this machine and its detours, name the layers and attach the body."""
    SwapLastAxes()(model)
    RecogniseGelu()(model)
    ClearMetadataAndDocStringPass()(model)
    model.producer_name = "blast-deploy"
    model.producer_version = blast_deploy.__version__
    model.ir_version = IR_VERSION
    NameLayers(prefix)(model)
    for name in sorted({node.op_type for node in model.graph.all_nodes() if node.domain == DOMAIN}):
        function = body(name)
        model.functions[function.identifier()] = function
    return model


def _bare_nodes() -> dict[Any, Any]:
    """What each layer's torch operator becomes: a node of the same arguments, zeros where it has no bias."""
    operators = torch.ops.blast_deploy
    make_blast, make_gblr = blast.node_maker(), gblr.node_maker()

    def blast_linear(x: Any, U: Any, S: Any, V: Any, bias: Any, in_features: int, out_features: int) -> Any:
        given = _bias(x, bias, out_features)
        return make_blast(x, U, S, V, given, in_features=in_features, out_features=out_features)

    def gblr_linear(
        x: Any,
        u: Any,
        u_start: Any,
        u_width: Any,
        v: Any,
        v_start: Any,
        v_width: Any,
        bias: Any,
        in_features: int,
        out_features: int,
    ) -> Any:
        factors = u, u_start, u_width, v, v_start, v_width
        given = _bias(x, bias, out_features)
        return make_gblr(x, *factors, given, in_features=in_features, out_features=out_features)

    return {operators.blast_linear.default: blast_linear, operators.gblr_linear.default: gblr_linear}


def _bias(x: Any, bias: Any, out_features: int) -> Any:
    if bias is not None:
        return bias
    zeros = np.zeros(out_features, dtype=x.dtype.numpy())
    return opset20.Constant(value=ir.to_proto(ir.Tensor(zeros)))


def root_cause(error: BaseException) -> str:
    """First line of the innermost exception's message: torch wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what torch's exporter prints, warns and logs."""
    disabled = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(disabled)
