"""The target that describes a calibrated machine."""

from __future__ import annotations

from blast_deploy.bench.peaks import MEMORY
from blast_deploy.results import CalibrationResult, CostName, MachinePeaks
from blast_deploy.targets import Costs, FormCosts, MemoryCosts, ScheduleCosts, Target


def make_target(
    name: str,
    result: CalibrationResult,
    costs: dict[CostName, FormCosts],
    peaks: MachinePeaks,
    schedule: ScheduleCosts,
) -> Target:
    """Put together what a calibration found: cpu-native's promise, with this machine's numbers."""
    last = max(peaks.cache_bytes, key=lambda level: peaks.cache_bytes[level])
    rates = {level: float(f"{rate:.3g}") for level, rate in peaks.gigabytes_per_second.items()}
    memory = MemoryCosts(
        last_cache_bytes=peaks.cache_bytes[last],
        cache_gigabytes_per_second=rates[last],
        gigabytes_per_second=rates[MEMORY],
    )
    return Target(
        name=name,
        summary=f"ONNX Runtime with the operator library, measured on {result.machine['processor']}",
        backend="onnxruntime",
        options={"operator_library": True, "instruction_set": result.instruction_set},
        costs=Costs(
            origin=_origin(result),
            kernel=costs["kernel"],
            body=costs["body"],
            dense=costs["dense"],
            quantized_kernel=costs.get("quantized_kernel"),
            gblr_kernel=costs.get("gblr_kernel"),
            memory=memory,
            schedule=schedule,
        ),
        peaks=MachinePeaks(
            gigaflops={each: float(f"{rate:.3g}") for each, rate in peaks.gigaflops.items()},
            gigabytes_per_second=rates,
            cache_bytes=peaks.cache_bytes,
            cache_origin=peaks.cache_origin,
        ),
    )


def _origin(result: CalibrationResult) -> str:
    """How the constants came about, in words."""
    load = "unknown" if result.load is None else f"{result.load:.2f} CPUs"
    fits = ", ".join(f"{each.name} {each.lowest:.2f} to {each.highest:.2f}" for each in result.costs)
    machine = ", ".join(f"{key} {value}" for key, value in result.machine.items())
    return (
        f"measured by blast-deploy doctor --calibrate with {result.instruction_set} kernels ({machine}): "
        f"thread CPU time of one thread in {result.cases} cases of layers and rows; other work meanwhile "
        f"{load}; modelled over measured time: {fits}"
    )
