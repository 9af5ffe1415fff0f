"""In place: the operators that ran are those that the plan promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from blast_deploy.artifact import Manifest
from blast_deploy.results import LayerPlan
from blast_deploy.runner import FUNCTION_BODY
from blast_deploy.structures.contract import OPERATORS

_STRUCTURED_OPERATORS = {operator.name for operator in OPERATORS}


def misplaced_layers(manifest: Manifest, executed: Mapping[str, str]) -> tuple[str, ...]:
    """Layers that did not run in the form that the plan promises, and those that ran unplanned.

    Args:
        manifest: With the plan and the operators that the lowered model needs.
        executed: Layer to operator type, as the runtime reports it.
    """
    planned = [layer.layer for layer in manifest.plan.layers]
    declared = [record.name for record in manifest.layers]
    return (
        *(
            f"layer {name} ran, but the manifest does not name it"
            for name in executed
            if name not in declared
        ),
        *(f"layer {name} has no form in the plan" for name in declared if name not in planned),
        *(f"layer {name} stands in the manifest more than once" for name in _repeated(declared)),
        *(f"layer {name} has more than one form in the plan" for name in _repeated(planned)),
        *(
            f"layer {layer.layer} was to run as {layer.form}, but the runtime ran {ran or 'nothing known'}"
            for layer in manifest.plan.layers
            if not _keeps(layer, ran := executed.get(layer.layer), manifest)
        ),
    )


def _keeps(layer: LayerPlan, ran: str | None, manifest: Manifest) -> bool:
    if layer.form in ("kernel", "dequantised"):
        return ran in manifest.operators.versions and ran in _STRUCTURED_OPERATORS
    if layer.form == "body":
        return ran == FUNCTION_BODY
    # What is more than an operator's name is a function body, or computed by another provider than promised.
    return ran is not None and ran.isidentifier() and ran not in _STRUCTURED_OPERATORS


def _repeated(names: list[str]) -> Iterable[str]:
    return dict.fromkeys(name for name in names if names.count(name) > 1)
