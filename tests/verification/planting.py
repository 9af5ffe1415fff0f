"""Plants faults into copies of honest artifacts, and hides them by making the hashes right again."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from portable_models import LayerSizes, inputs, portable, random_layers

from blast_deploy import artifact as artifacts
from blast_deploy import reference
from blast_deploy.artifact import read_artifact
from blast_deploy.factors import load_factors
from blast_deploy.model_paths import reference_path
from blast_deploy.native import Library
from blast_deploy.passes.save import save_mapped
from blast_deploy.reference import Reference, Sample
from blast_deploy.results import VerificationResult
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.blast.packing import pack
from blast_deploy.structures.contract import DOMAIN

FORMS = ("kernel", "body", "dense")
SQUARE = (LayerSizes(96, 96, (4, 4), 24), LayerSizes(80, 96, (4, 4), 24))
"""The first layer's blocks are 24 x 24, so that a factor can be transposed; weights fill pages."""
WEIGHT = {"kernel": "block.0.packed", "body": "block.0.U", "dense": "block.0.weight"}
"""Where the first layer's weights lie in each form."""


def rewrite(folder: Path, **changes: Any) -> None:
    """Change the manifest, and make its hashes and sizes those of the files as they are now."""
    manifest = read_artifact(folder).manifest
    roles = {file.path: file.role for file in manifest.files if (folder / file.path).exists()}
    files = artifacts.store(folder, roles)
    deployed = sum(file.bytes for file in files if file.role != "reference")
    changed = dataclasses.replace(manifest, **{"files": files, "deployed_bytes": deployed, **changes})
    (folder / "manifest.json").write_bytes(artifacts.encode(changed))


def edit_model(folder: Path, edit: Callable[[ir.Model], None]) -> None:
    """Change the lowered model, and hide it."""
    model = ir.load(folder / "model.onnx")
    for value in model.graph.initializers.values():
        assert value.const_value is not None
        value.const_value = ir.Tensor(value.const_value.numpy().copy(), name=value.name)
    edit(model)
    save_mapped(model, folder / "model.onnx")
    rewrite(folder)


def set_weight(model: ir.Model, name: str, array: NDArray[Any]) -> None:
    model.graph.initializers[name].const_value = ir.Tensor(np.ascontiguousarray(array), name=name)


def edit_weight(folder: Path, name: str, edit: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """Change one stored weight, and hide it."""

    def change(model: ir.Model) -> None:
        tensor = model.graph.initializers[name].const_value
        assert tensor is not None
        set_weight(model, name, edit(tensor.numpy().copy()))

    edit_model(folder, change)


def edit_factors(folder: Path, form: str, edit: Callable[[BlastMatrix], BlastMatrix]) -> None:
    """Change what the first layer computes, in whatever form it is stored, and hide it."""
    factors = load_factors(folder / artifacts.FACTORS, "block.0", "BlastLinear", 96, 96).tensors
    wrong = edit(BlastMatrix(factors["U"], factors["S"], factors["V"], 96, 96))

    def change(model: ir.Model) -> None:
        if form == "kernel":
            set_weight(model, "block.0.packed", pack(wrong))
        elif form == "dense":
            set_weight(model, "block.0.weight", wrong.dense().T.astype(np.float32))
        else:
            for name, factor in (("U", wrong.u), ("S", wrong.s), ("V", wrong.v)):
                set_weight(model, f"block.0.{name}", factor)

    edit_model(folder, change)


def write_two_inputs(folder: Path, *, equal: bool = False) -> Path:
    """Write a model of two inputs of one shape, y = block.0(a) + tanh(block.1(b)), and its reference."""
    layers = random_layers((LayerSizes(24, 30, (2, 3), 7), LayerSizes(24, 30, (4, 2), 5)))
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []
    for layer, given in zip(layers, "ab", strict=True):
        tensors = {"U": layer.matrix.u, "S": layer.matrix.s, "V": layer.matrix.v, "bias": layer.bias}
        own = [numpy_helper.from_array(array, f"{layer.name}.{name}") for name, array in tensors.items()]
        initializers += own
        nodes.append(
            helper.make_node(
                "BlastLinear",
                [given, *(tensor.name for tensor in own)],
                [f"{layer.name}.output"],
                layer.name,
                domain=DOMAIN,
                in_features=30,
                out_features=24,
            )
        )
    nodes.append(helper.make_node("Tanh", ["block.1.output"], ["tanh"], "tanh"))
    nodes.append(helper.make_node("Add", ["block.0.output", "tanh"], ["y"], "sum"))
    model = portable(nodes, initializers, TensorProto.FLOAT, 30, 24)
    model.graph.input[0].name = "a"
    model.graph.input.append(model.graph.input[0])
    model.graph.input[1].name = "b"
    onnx.save(model, folder / "model.onnx")
    a, b = (inputs(layers, 2, 5, seed)["x"] for seed in (1, 2))
    b = a if equal else b
    y = layers[0].matrix.apply(a, layers[0].bias) + np.tanh(layers[1].matrix.apply(b, layers[1].bias))
    made = Reference(reference.sha256(folder / "model.onnx"), (Sample({"a": a, "b": b}, {"y": y}),))
    reference.save(made, reference_path(folder / "model.onnx"))
    return folder / "model.onnx"


def compile_operator_library(folder: Path, operators: str | None, version: str = "0.0.9") -> Path:
    """Compile an operator library that registers nothing, whatever operators it lists; None: an old one.

    It runs the instruction sets of the real one.
    """
    sets = ",".join(Library().instruction_sets())
    listing = "" if operators is None else _LISTING.format(function="operators", text=operators)
    source = folder / "library.c"
    source.write_text(
        _SOURCE.format(version=version) + _LISTING.format(function="instruction_sets", text=sets) + listing
    )
    compiler = shutil.which("cc") or shutil.which("c++")
    assert compiler, "building this package needs a compiler too"
    target = folder / "library.so"
    command = [compiler, "-x", "c", "-shared", "-fPIC", "-o", str(target), str(source)]
    subprocess.run(command, check=True)
    return target


_SOURCE = """
#include <stdio.h>
const char* blast_deploy_version(void) {{ return "{version}"; }}
void* RegisterCustomOps(void* options, const void* api) {{ (void)options; (void)api; return 0; }}
"""
_LISTING = """
int blast_deploy_{function}(char* text, size_t size) {{ snprintf(text, size, "{text}"); return 0; }}
"""


def node_named(model: ir.Model, name: str) -> ir.Node:
    return next(node for node in model.graph if node.name == name)


def reasons(result: VerificationResult, verdict: str = "failed") -> str:
    """The reasons of a verdict, which must be the one expected and have some."""
    assert result.verdict == verdict, result
    assert result.reasons
    assert len(set(result.reasons)) == len(result.reasons)
    return "\n".join(result.reasons)
