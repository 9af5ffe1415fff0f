"""How long one layer takes in each form: thread CPU time, one thread, the forms interleaved.

Copies of the layer with weights of their own follow each other, as the layers of a model do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from blast_deploy.bench import timing
from blast_deploy.bench.clock import clock_for
from blast_deploy.calibration.case import Case
from blast_deploy.calibration.session import bound_call
from blast_deploy.results import Form

_CALL_NS = 500_000


def time_case(case: Case, instruction_set: str, rounds: int) -> dict[Form, float]:
    """Lower quartile of microseconds for one layer in each form that is timed of it.

    Args:
        case: The layer and its rows.
        instruction_set: Of the kernels.
        rounds: Turns of each form.
    """
    clock = clock_for(1)
    x = np.random.default_rng(1).standard_normal((case.rows, case.in_features), np.float32)
    calls: dict[str, timing.Call] = {}
    runs: dict[str, int] = {}
    for form in case.timed:
        model = ir.to_proto(case.build(form, instruction_set)).SerializeToString()
        call = bound_call(model, x, case.out_features)
        calls[form], runs[form] = _repeated(call, clock.read_ns)
    timings = timing.interleave(calls, clock, rounds=rounds)
    # Other work on the machine only ever adds time, through the caches and memory that all cores share.
    low = {form: float(np.percentile(timings[form].round_medians, 25)) for form in case.timed}
    return {form: low[form] * 1000 / (case.copies * runs[form]) for form in case.timed}


def _repeated(call: timing.Call, read_ns: Callable[[], int]) -> tuple[timing.Call, int]:
    """The call repeated often enough to be timed well, and how often."""
    call()
    begun = read_ns()
    call()
    repeats = max(1, round(_CALL_NS / max(1, read_ns() - begun)))

    def repeat() -> None:
        for _ in range(repeats):
            call()

    return repeat, repeats
