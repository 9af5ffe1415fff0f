"""What the kernel's schedule goes by on this machine; see ``targets.ScheduleCosts``."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from blast_deploy.bench import timing
from blast_deploy.bench.clock import clock_for
from blast_deploy.bench.load import usable_cpus
from blast_deploy.bench.timing import Call
from blast_deploy.calibration.blast_case import make_case
from blast_deploy.calibration.session import bound_call
from blast_deploy.structures import contract
from blast_deploy.structures.blast.schedule import ScheduleLimits
from blast_deploy.targets import ScheduleCosts

TILES = (28, 42, 56, 70, 98, 140)
"""Rows to a tile that are tried: multiples of what the AVX-512 kernel takes at once."""
USUAL_HANDOFF = 5.0
"""Microseconds, where there is no second CPU to hand anything to."""
_WIDTH = 64
_STEPS = 64
_LAYER = make_case(768, 768, 4, 0.5, 560)


def measure_schedule(instruction_set: str, runs: int, rounds: int) -> ScheduleCosts:
    """Measure which tile is the fastest and what handing work to another thread costs.

    Args:
        instruction_set: Of the kernels.
        runs: Of each number of threads.
        rounds: Turns of each tile.
    """
    return ScheduleCosts(
        largest_tile_rows=_fastest_tile(instruction_set, rounds),
        handoff_microseconds=float(f"{_handoff_microseconds(runs):.2g}"),
    )


def _fastest_tile(instruction_set: str, rounds: int) -> int:
    """The tile that takes the least thread CPU time on a layer of many rows, each tile in its turn."""
    x = np.random.default_rng(1).standard_normal((_LAYER.rows, _LAYER.in_features), np.float32)
    calls: dict[str, Call] = {}
    for tile in TILES:
        case = replace(_LAYER, limits=ScheduleLimits(largest_tile_rows=tile))
        model = ir.to_proto(case.build("kernel", instruction_set)).SerializeToString()
        calls[str(tile)] = bound_call(model, x, _LAYER.out_features)
    timings = timing.interleave(calls, clock_for(1), rounds=rounds)
    return int(min(timings, key=lambda tile: float(np.percentile(timings[tile].round_medians, 25))))


def _handoff_microseconds(runs: int) -> float:
    """What a product takes longer with two threads than half of its time with one.

    The products are so small that handing over is most of their time, and large enough that ONNX Runtime
    cuts them in two. They follow each other as a model's do, so that its threads are awake. Least wall
    times: whatever else runs here only adds to them.
    """
    if len(usable_cpus()) < 2:
        return USUAL_HANDOFF
    x = np.ones((_WIDTH, _WIDTH), np.float32)
    calls = {threads: bound_call(_chain(), x, _WIDTH, threads) for threads in (1, 2)}
    least = dict.fromkeys(calls, float("inf"))
    for _ in range(runs):
        for threads, call in calls.items():
            least[threads] = min(least[threads], _microseconds(call))
    return max(0.0, (least[2] - least[1] / 2) / _STEPS)


def _chain() -> bytes:
    """Products that follow each other: X times the identity, again and again."""
    names = ["X", *(f"step{index}" for index in range(_STEPS - 1)), "Y"]
    nodes = [
        helper.make_node("MatMul", [before, "identity"], [after])
        for before, after in itertools.pairwise(names)
    ]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [_WIDTH, _WIDTH]) for name in ("X", "Y")
    ]
    identity = numpy_helper.from_array(np.eye(_WIDTH, dtype=np.float32), "identity")
    model = helper.make_model(
        helper.make_graph(nodes, "chain", ends[:1], ends[1:], [identity]),
        opset_imports=[helper.make_opsetid("", contract.OPSET)],
        ir_version=contract.IR_VERSION,
    )
    content: bytes = model.SerializeToString()
    return content


def _microseconds(call: Call) -> float:
    begun = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - begun) / 1e3
