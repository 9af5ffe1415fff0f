"""Calibration: measure this machine, and write the target file by which the planner knows it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from blast_deploy import native, runtime
from blast_deploy.bench.load import LoadMeter
from blast_deploy.bench.machine import describe_machine
from blast_deploy.bench.peaks import measure_peaks
from blast_deploy.calibration.case import CASES, Case
from blast_deploy.calibration.fit import describe_fit, fit_form
from blast_deploy.calibration.schedule import measure_schedule
from blast_deploy.calibration.share import CpuShare
from blast_deploy.calibration.target import make_target
from blast_deploy.calibration.target_file import encode
from blast_deploy.calibration.times import time_case
from blast_deploy.errors import InvalidInputError, OutputExistsError, UnsupportedMachineError
from blast_deploy.results import CalibrationResult, CostName, FittedCosts, Form
from blast_deploy.staging import check_writable, write_whole
from blast_deploy.targets import FormCosts, decode

Progress = Callable[[int, int, str], None]
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        cases: Layers and rows that are timed.
        rounds: Turns of each form in each case.
        handoffs: Runs of each number of threads.
    """

    cases: tuple[Case, ...] = CASES
    rounds: int = 7
    handoffs: int = 1000


FULL = Effort()


def calibrate(
    output: str | Path,
    *,
    instruction_set: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
    effort: Effort | None = None,
) -> CalibrationResult:
    """Measure this machine and write a target file for it, in about two minutes.

    Args:
        output: The file, ``NAME.toml``; its stem is the target's name.
        instruction_set: What the kernels may use; by default the best of this machine.
        force: Replace an existing file.
        progress: Told of steps done, steps in all and what comes next.
        effort: How much is measured; ``FULL`` by default.

    Returns:
        What was found. Where other work left the timed thread too little of the machine, ``reasons`` says
        so and nothing is written.

    Raises:
        InvalidInputError: If the name is none for a target, or nothing can be written there.
        OutputExistsError: If the file exists and ``force`` is not given.
        UnsupportedMachineError: If this machine lacks the instruction set, the library or a runtime that
            serves.
    """
    path = Path(output)
    _check_output(path, force)
    chosen, effort = _instruction_set(instruction_set), effort or FULL
    tell = progress or (lambda done, total, what: None)
    begun, share, meter = time.perf_counter(), CpuShare(), LoadMeter()
    meter.start()
    peaks = measure_peaks(tell)
    result = CalibrationResult(
        path=None,
        instruction_set=chosen,
        machine=describe_machine(),
        load=None,
        reasons=share.doubts(),
        cases=0,
        seconds=0.0,
        peaks=peaks,
        costs=(),
    )
    if not result.reasons:
        schedule = measure_schedule(chosen, effort.handoffs, effort.rounds)
        costs, fitted = _measure_costs(effort, chosen, tell)
        result = replace(result, reasons=share.doubts(), cases=len(effort.cases), costs=fitted)
    meter.stop()
    result = replace(result, load=meter.load, seconds=time.perf_counter() - begun)
    if result.reasons:
        return result
    content = encode(make_target(path.stem, result, costs, peaks, schedule))
    decode(content, path.name)
    write_whole(path, content)
    return replace(result, path=path)


def _check_output(path: Path, force: bool) -> None:
    if path.suffix != ".toml" or _NAME.fullmatch(path.stem) is None:
        raise InvalidInputError(
            f"a target's file must be named NAME.toml, NAME of a-z, 0-9, _, . and - (got {path.name!r}); "
            "choose another name"
        )
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder; name a file")
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists; choose another file or use force to replace it")
    if not path.parent.is_dir():
        raise InvalidInputError(f"the folder {path.parent} does not exist; make it or name another file")
    check_writable(path)


def _instruction_set(name: str | None) -> str:
    obstacle = runtime.obstacle()
    if obstacle is not None:
        raise UnsupportedMachineError(obstacle)
    available = native.Library().instruction_sets()
    if name is not None and name not in available:
        raise UnsupportedMachineError(
            f"kernels of {name!r} cannot be measured here; this machine can run {', '.join(available)}"
        )
    return name or available[0]


def _measure_costs(
    effort: Effort, instruction_set: str, tell: Progress
) -> tuple[dict[CostName, FormCosts], tuple[FittedCosts, ...]]:
    measured: dict[CostName, list[tuple[Case, Form, float]]] = {}
    for done, case in enumerate(effort.cases):
        tell(done, len(effort.cases), f"{case.layer.operator}, {case.layer.description}, {case.rows} rows")
        for form, microseconds in time_case(case, instruction_set, effort.rounds).items():
            measured.setdefault(case.timed[form], []).append((case, form, microseconds))
    costs, fitted = {}, []
    for name, found in measured.items():
        cases, forms, times = zip(*found, strict=True)
        costs[name], ratios = fit_form(forms[0], cases, np.array(times))
        fitted.append(describe_fit(name, costs[name], ratios))
    return costs, tuple(fitted)
