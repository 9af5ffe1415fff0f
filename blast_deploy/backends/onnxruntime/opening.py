"""Whether an artifact can be opened on this machine, told before the runtime is asked."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import onnxruntime

from blast_deploy.artifact import Artifact
from blast_deploy.backends.onnxruntime.machine import instruction_set_obstacle, operators_obstacle
from blast_deploy.backends.onnxruntime.options import options_of
from blast_deploy.errors import InvalidInputError, UnsupportedMachineError
from blast_deploy.passes.load import load_model
from blast_deploy.runtime import release
from blast_deploy.structures.contract import DOMAIN, OPERATORS


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
    obstacle = operators_obstacle(needed.versions)
    if obstacle is None and needed.instruction_set is not None:
        obstacle = instruction_set_obstacle(needed.instruction_set)
    if obstacle is not None:
        raise UnsupportedMachineError(
            f"{artifact.path} cannot run here: {obstacle}; compile it for this machine"
        )


def check_model(artifact: Artifact) -> None:
    """Refuse a model that is not the one that the manifest describes; no weight is read.

    Raises:
        InvalidInputError: If weights lie anywhere but in the artifact's own files, a kernel is for another
            instruction set than promised, or the model or its weights are damaged.
    """
    model = load_model(artifact.model)
    own = {path.resolve() for path in (*artifact.files("model"), *artifact.files("weights"))}
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and Path(tensor.path).resolve() not in own:
            raise InvalidInputError(
                f"{artifact.path} keeps weights in {tensor.location}, which its manifest does not name; "
                "compile it again"
            )
    promised = artifact.manifest.operators.instruction_set
    for node in model.graph.all_nodes():
        attribute = node.attributes.get("instruction_set") if node.domain == DOMAIN else None
        if attribute is not None and attribute.value != promised:
            raise InvalidInputError(
                f"layer {node.name} of {artifact.path} is for instruction set {attribute.value}, and the "
                f"manifest promises {promised or 'none'}; compile it again"
            )
