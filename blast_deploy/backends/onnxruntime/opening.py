"""Whether an artifact can be opened on this machine, told before the runtime is asked."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import onnxruntime

from blast_deploy.artifact import Artifact
from blast_deploy.backends.onnxruntime.machine import instruction_set_obstacle, library_obstacle
from blast_deploy.backends.onnxruntime.options import options_of
from blast_deploy.errors import InvalidInputError, UnsupportedMachineError
from blast_deploy.passes.load import load_model
from blast_deploy.runtime import release
from blast_deploy.structures.contract import OPERATORS


def check_machine(artifact: Artifact) -> None:
    """Refuse an artifact that needs what this machine, its runtime or this tool lacks.

    Raises:
        UnsupportedMachineError: Naming what is lacking.
    """
    needed = artifact.manifest.operators
    known = {operator.name: operator.since_version for operator in OPERATORS}
    for name, version in needed.versions.items():
        if known.get(name, 0) < version:
            raise UnsupportedMachineError(
                f"{artifact.path} needs operator {name} of version {version}, which this version of the tool "
                "does not have; upgrade blast-deploy"
            )
    if release(onnxruntime.__version__) < release(needed.oldest_runtime):
        raise UnsupportedMachineError(
            f"{artifact.path} needs onnxruntime {needed.oldest_runtime} or newer "
            f"(found {onnxruntime.__version__}); upgrade it"
        )
    if not options_of(artifact.manifest.target).operator_library:
        return
    obstacle = library_obstacle()
    if obstacle is None and needed.instruction_set is not None:
        obstacle = instruction_set_obstacle(needed.instruction_set)
    if obstacle is not None:
        raise UnsupportedMachineError(
            f"{artifact.path} cannot run here: {obstacle}; compile it for this machine"
        )


def check_model(artifact: Artifact) -> None:
    """Refuse a model whose weights lie anywhere but in the artifact's own files; no weight is read.

    Raises:
        InvalidInputError: If they do, or the model or its weights are damaged.
    """
    own = {path.resolve() for path in (*artifact.files("model"), *artifact.files("weights"))}
    for value in load_model(artifact.model).graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and Path(tensor.path).resolve() not in own:
            raise InvalidInputError(
                f"{artifact.path} keeps weights in {tensor.location}, which its manifest does not name; "
                "compile it again"
            )
