"""The planner: for each structured layer the form that computes it on a target, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from blast_deploy.backends.registry import load_backend
from blast_deploy.errors import InvalidInputError
from blast_deploy.planning.cost import typical_microseconds, weight_bytes
from blast_deploy.planning.layer import LinearLayer, RowRange
from blast_deploy.results import Accepted, Form, LayerPlan, Plan, Rejected
from blast_deploy.targets import Target

FORMS: tuple[Form, ...] = ("kernel", "dequantised", "body", "dense")


def plan(layers: Sequence[LinearLayer], target: Target, rows: Mapping[str, RowRange]) -> Plan:
    """Choose a form for every layer: of those the target accepts, the one with the least modelled time.

    Args:
        layers: The model's structured layers; none for a dense model.
        target: Where it will run.
        rows: Layer name to fewest and most rows that must be served well.

    Raises:
        InvalidInputError: If the target's backend accepts no form of some layer.
    """
    uncached = uncached_forms(layers, target)
    planned = tuple(plan_layer(layer, target, rows[layer.name], uncached) for layer in layers)
    ranges = [rows[layer.name] for layer in layers] or [(0, 0)]
    span = min(low for low, _ in ranges), max(high for _, high in ranges)
    return Plan(target=target.name, rows=span, layers=planned)


def uncached_forms(layers: Sequence[LinearLayer], target: Target) -> frozenset[Form]:
    """The forms in which the weights of all layers together leave no room in the last cache."""
    memory = target.costs.memory
    if memory is None:
        return frozenset()
    sizes = dict.fromkeys(FORMS, 0.0)
    for layer in layers:
        for form, work in layer.work.items():
            sizes[form] += weight_bytes(work, layer)
    return frozenset(form for form in FORMS if sizes[form] > memory.last_cache_bytes)


def plan_layer(
    layer: LinearLayer, target: Target, rows: RowRange, uncached: Collection[Form] = ()
) -> LayerPlan:
    """Choose the form of one layer, some forms of which read their weights from memory; see ``plan``."""
    rejected = {each.form: each for each in load_backend(target.backend).rejected_forms(target, layer)}
    own = [form for form in FORMS if form in layer.work]
    for form in own:
        if form not in rejected and target.costs.of(form, layer.operator) is None:
            rejected[form] = Rejected(form, f"target {target.name} gives no cost for this form")
    accepted = tuple(
        Accepted(form, round(_typical(form, layer, rows, target, form in uncached), 3))
        for form in own
        if form not in rejected
    )
    if not accepted:
        reasons = "; ".join(f"no {each.form}: {each.reason}" for each in rejected.values())
        raise InvalidInputError(
            f"layer {layer.name} cannot run on target {target.name} ({reasons}); choose another target"
        )
    chosen = min(accepted, key=lambda each: each.microseconds)
    return LayerPlan(
        layer=layer.name,
        operator=layer.operator,
        form=chosen.form,
        reason=_reason(chosen, accepted, tuple(rejected.values()), rows),
        accepted=accepted,
        rejected=tuple(rejected.values()),
    )


def _typical(form: Form, layer: LinearLayer, rows: RowRange, target: Target, from_memory: bool) -> float:
    return typical_microseconds(form, layer, rows, target.costs, from_memory=from_memory)


def _reason(
    chosen: Accepted, accepted: tuple[Accepted, ...], rejected: tuple[Rejected, ...], rows: RowRange
) -> str:
    others = ", ".join(f"{each.form} {_time(each)}" for each in accepted if each.form != chosen.form)
    numbers = f"{rows[0]} to {rows[1]}" if rows[0] < rows[1] else f"{rows[0]}"
    span = f"{numbers} row" if rows[1] == 1 else f"{numbers} rows"
    compared = f"against {others}" if others else "the only form accepted"
    excluded = "".join(f"; no {each.form}: {each.reason}" for each in rejected)
    modelled = f"modelled for {span}, one thread"
    return f"{chosen.form} {_time(chosen)}, {compared} ({modelled}){excluded}"


def _time(form: Accepted) -> str:
    if form.microseconds < 1000:
        return f"{form.microseconds:.3g} us"
    return f"{form.microseconds / 1000:.3g} ms"
