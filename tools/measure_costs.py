"""Measures the constants of a target's time model on this machine, for the ``[costs]`` of its TOML file.

Layers of several sizes are timed in each form (packed kernel, function body, dense) for several numbers
of rows: thread CPU time, one thread, the forms interleaved, copies of a layer with weights of their own
following each other as the layers of a model do. The three constants of each form are then fitted to the
times by least squares of relative errors, none of them negative.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from blast_deploy import native
from blast_deploy.bench import timing
from blast_deploy.bench.clock import clock_for
from blast_deploy.bench.machine import describe_machine
from blast_deploy.passes.densify import Densify
from blast_deploy.passes.inline_functions import InlineFunctions
from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.passes.pack_blast import PackBlast
from blast_deploy.planning.cost import microseconds
from blast_deploy.planning.layer import blast_layer
from blast_deploy.results import Form
from blast_deploy.structures import contract
from blast_deploy.structures.blast import operator
from blast_deploy.structures.blast.matrix import rank_for
from blast_deploy.targets import Costs, FormCosts

FORMS: tuple[Form, ...] = ("kernel", "body", "dense")
SIZES = (
    (384, 384, 4, 0.5),
    (1536, 384, 4, 0.5),
    (384, 1536, 4, 0.3),
    (768, 768, 4, 0.5),
    (3072, 768, 8, 0.3),
)
ROWS = (1, 4, 16, 64, 256, 1024)
COPIES_BYTES = 16 << 20
"""Dense weights that follow each other: more than a core's own caches."""
OUTPUT_BYTES = 64 << 20
CALL_NS = 500_000


@dataclass(frozen=True)
class Case:
    """One layer and a number of rows."""

    out_features: int
    in_features: int
    blocks: int
    rank: int
    rows: int

    @property
    def copies(self) -> int:
        """How many of the layer follow each other; fewer where their outputs would fill the memory."""
        by_weights = math.ceil(COPIES_BYTES / (4 * self.out_features * self.in_features))
        by_outputs = OUTPUT_BYTES // (4 * self.out_features * self.rows)
        return max(1, min(by_weights, by_outputs))


def build_model(case: Case, form: Form, instruction_set: str) -> bytes:
    """Build copies of a layer that all read X, in the form that compile would give them."""
    random = np.random.default_rng(0)
    b, r, m, n = case.blocks, case.rank, case.out_features, case.in_features
    shapes = {"U": (b, math.ceil(m / b), r), "S": (b, b, r), "V": (b, r, math.ceil(n / b)), "bias": (m,)}
    nodes, initializers, outputs = [], [], []
    for index in range(case.copies):
        names = [f"layer{index}.{name}" for name in shapes]
        initializers += [
            numpy_helper.from_array(random.standard_normal(shape, np.float32), name)
            for name, shape in zip(names, shapes.values(), strict=True)
        ]
        sizes = {"in_features": n, "out_features": m}
        nodes.append(
            helper.make_node("BlastLinear", ["X", *names], [f"Y{index}"], domain=contract.DOMAIN, **sizes)
        )
        outputs.append(helper.make_tensor_value_info(f"Y{index}", onnx.TensorProto.FLOAT, ["rows", m]))
    entering = helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, ["rows", n])
    proto = helper.make_model(
        helper.make_graph(nodes, "copies", [entering], outputs, initializers),
        functions=[operator.function_proto()],
        opset_imports=[
            helper.make_opsetid("", contract.OPSET),
            helper.make_opsetid(contract.DOMAIN, contract.DOMAIN_VERSION),
        ],
        ir_version=contract.IR_VERSION,
    )
    model = ir.from_proto(proto)
    NameLayers()(model)
    layers = [f"layer{index}" for index in range(case.copies)]
    passes = {
        "kernel": PackBlast(layers, instruction_set),
        "body": InlineFunctions(layers),
        "dense": Densify(layers),
    }
    passes[form](model)
    return cast(bytes, ir.to_proto(model).SerializeToString())


def time_case(case: Case, instruction_set: str, rounds: int) -> dict[Form, float]:
    """Lower quartile of microseconds for one layer in each form."""
    clock = clock_for(1)
    x = np.random.default_rng(1).standard_normal((case.rows, case.in_features), np.float32)
    calls, runs = {}, {}
    for form in FORMS:
        call = _bound(_session(build_model(case, form, instruction_set)), x, case.out_features)
        calls[form], runs[form] = _repeated(call, clock.read_ns)
    timings = timing.interleave(calls, clock, rounds=rounds)
    # Other work on the machine only ever adds time, through the caches and memory that all cores share.
    low = {form: float(np.percentile(timings[form].round_medians, 25)) for form in FORMS}
    return {form: low[form] * 1000 / (case.copies * runs[form]) for form in FORMS}


def fit(work: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative x that minimises the sum of squares of (work x - times) / times.

    Args:
        work: Float64 (cases, terms).
        times: Float64 (cases,).

    With so few terms every set of those that are not zero can be tried.
    """
    scaled, target = work / times[:, None], np.ones_like(times)
    best, best_residual = np.zeros(work.shape[1]), math.inf
    for count in range(1, work.shape[1] + 1):
        for chosen in itertools.combinations(range(work.shape[1]), count):
            solution = np.linalg.lstsq(scaled[:, chosen], target, rcond=None)[0]
            residual = float(np.sum((scaled[:, chosen] @ solution - target) ** 2))
            if (solution >= 0).all() and residual < best_residual:
                best, best_residual = np.zeros(work.shape[1]), residual
                best[list(chosen)] = solution
    return best


def fit_form(
    form: Form, cases: list[Case], times: NDArray[np.float64]
) -> tuple[FormCosts, NDArray[np.float64]]:
    """Constants of one form, and the modelled time over the measured one in each case."""
    # The model's own formula tells what each constant multiplies.
    units = [
        FormCosts(call_microseconds=a, gigaflops=b, gigabytes_per_second=c)
        for a, b, c in ((1.0, 1e30, 1e30), (1e-30, 1.0, 1e30), (1e-30, 1e30, 1.0))
    ]
    work = np.array([[_model(form, case, unit) for unit in units] for case in cases])
    call, per_flop, per_byte = fit(work, times)
    constants = FormCosts(
        call_microseconds=max(call, 1e-3),
        gigaflops=1 / max(per_flop, 1e-6),
        gigabytes_per_second=1 / max(per_byte, 1e-6),
    )
    modelled = np.array([_model(form, case, constants) for case in cases])
    return constants, modelled / times


def _model(form: Form, case: Case, constants: FormCosts) -> float:
    layer = blast_layer(
        "layer",
        dtype="float32",
        out_features=case.out_features,
        in_features=case.in_features,
        blocks=(case.blocks, case.blocks),
        rank=case.rank,
    )
    costs = Costs(origin="", kernel=constants, body=constants, dense=constants)
    return microseconds(form, layer, case.rows, costs)


def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.register_custom_ops_library(str(native.library_path()))
    return ort.InferenceSession(model, options)


def _bound(session: ort.InferenceSession, x: NDArray[Any], width: int) -> timing.Call:
    """A call that runs the session on memory that stays in place."""
    binding = session.io_binding()
    binding.bind_cpu_input("X", x)
    kept = [x]
    for output in session.get_outputs():
        y = np.empty((x.shape[0], width), np.float32)
        binding.bind_output(output.name, "cpu", 0, np.float32, list(y.shape), y.ctypes.data)
        kept.append(y)

    def call() -> list[NDArray[Any]]:
        session.run_with_iobinding(binding)
        return kept

    return call


def _repeated(call: timing.Call, read_ns: Callable[[], int]) -> tuple[timing.Call, int]:
    """The call repeated often enough to be timed well, and how often."""
    call()
    begun = read_ns()
    call()
    repeats = max(1, round(CALL_NS / max(1, read_ns() - begun)))

    def repeat() -> None:
        for _ in range(repeats):
            call()

    return repeat, repeats


def _cases() -> list[Case]:
    cases = []
    for (m, n, blocks, keep), rows in itertools.product(SIZES, ROWS):
        cases.append(Case(m, n, blocks, rank_for(m, n, (blocks, blocks), keep), rows))
    return cases


def main() -> None:
    """Measure, fit, and print the constants with how well they fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruction-set", default=native.Library().instruction_sets()[0])
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    cases = _cases()
    rows = []
    for case in cases:
        rows.append(time_case(case, arguments.instruction_set, arguments.rounds))
        found = ", ".join(f"{form} {rows[-1][form]:.1f} us" for form in FORMS)
        size = f"{case.out_features}x{case.in_features} b{case.blocks} r{case.rank}"
        print(f"{size}, {case.rows} rows: {found}", flush=True)
    print(describe_machine())
    for form in FORMS:
        constants, ratios = fit_form(form, cases, np.array([row[form] for row in rows]))
        print(f"\n[costs.{form}]")
        for name in ("call_microseconds", "gigaflops", "gigabytes_per_second"):
            print(f"{name} = {getattr(constants, name):.3g}")
        spread = f"{ratios.min():.2f} to {ratios.max():.2f}, median {np.median(ratios):.2f}"
        print(f"# modelled over measured: {spread}")


if __name__ == "__main__":
    main()
