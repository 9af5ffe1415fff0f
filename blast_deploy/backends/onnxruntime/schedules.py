"""How the kernels of a plan's layers will be cut, in words."""

from __future__ import annotations

import os
from collections.abc import Collection

import onnx_ir as ir

from blast_deploy.passes.structured import StructuredLayer, structured_layers
from blast_deploy.planning.layer import RowRange
from blast_deploy.structures.blast.schedule import ScheduleLimits, make_schedule


def describe_schedules(
    model: ir.Model, layers: Collection[str], plan_rows: RowRange, limits: ScheduleLimits
) -> dict[str, str]:
    """Layer to its schedule for the plan's fewest and most rows, on one thread and on all of this machine.

    Args:
        model: Its layers not yet packed.
        layers: Those that the float kernel will compute; the others have no schedule.
        plan_rows: Fewest and most rows.
        limits: When a layer is cut.
    """
    rows, threads = sorted(set(plan_rows)), sorted({1, _processors()})
    return {
        layer.name: "; ".join(_describe(layer, count, threads, limits) for count in rows)
        for layer in structured_layers(model)
        if layer.name in layers
    }


def _describe(layer: StructuredLayer, rows: int, threads: list[int], limits: ScheduleLimits) -> str:
    found = [
        make_schedule(
            layer.out_features,
            layer.in_features,
            layer.blocks,
            layer.rank,
            dtype=layer.dtype,
            rows=rows,
            threads=count,
            limits=limits,
        )
        for count in threads
    ]
    counted = f"{rows} row" if rows == 1 else f"{rows} rows"
    others = [f"on {count} threads {each}" for count, each in zip(threads[1:], found[1:], strict=True)]
    return f"{counted}: " + ", ".join([str(found[0]), *(other for other in others if found[1] != found[0])])


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
