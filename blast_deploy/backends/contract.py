"""What a backend offers: every module that ``registry.py`` names has these functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

# For annotations alone: targets and runners find their backend here, so this may not import them in turn.
if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from blast_deploy.artifact import Artifact, Role
    from blast_deploy.planning.layer import LinearLayer
    from blast_deploy.results import Epilogue, Plan, Rejected
    from blast_deploy.runner import Runner
    from blast_deploy.targets import Target


@dataclass(frozen=True)
class Lowered:
    """What a backend wrote into an artifact's folder.

    Attributes:
        files: Relative path to role, ``model`` or ``weights``, of every file written.
        operators: Operator types of domain ``ai.blast`` that the lowered model needs, with their version.
        runtime: Name of the runtime that serves it.
        oldest_runtime: Its oldest version that does.
        instruction_set: What the machine must have, or None for any.
        epilogues: Layer to what its node does beside the layer.
        groups: Layer to the other layers that its node computes.
        schedules: Layer to how its kernel is cut for the plan's rows, in words.
    """

    files: dict[str, Role]
    operators: dict[str, int]
    runtime: str
    oldest_runtime: str
    instruction_set: str | None
    epilogues: dict[str, Epilogue] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    schedules: dict[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """Lowers a planned model for a target and opens the result."""

    def check_options(self, target: Target) -> None:
        """Refuse options that the backend does not know; raises InvalidInputError or a msgspec one."""

    def compile_obstacle(self, target: Target) -> str | None:
        """Why this machine cannot compile for the target; None when it can."""

    def run_obstacle(self, target: Target) -> str | None:
        """Why this machine cannot run what was compiled for the target; None when it can."""

    def rejected_forms(self, target: Target, layer: LinearLayer) -> tuple[Rejected, ...]:
        """The forms in which the target cannot compute a layer, each with its reason."""

    def lower(self, model: ir.Model, plan: Plan, target: Target, folder: Path) -> Lowered:
        """Write the model, its planned forms made real, into a folder; may change ``model``."""

    def open(self, artifact: Artifact, threads: int | None) -> Runner:
        """Open an artifact; raises UnsupportedMachineError where this machine cannot run it."""
