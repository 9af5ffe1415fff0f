"""Times single BLAST layers against ONNX Runtime's dense MatMul of the same size, on one thread.

Every layer is timed twice: ``hot``, where it runs again and again and its weights stay in the caches that
they fit in, and ``cold``, where copies of it with weights of their own follow each other as the layers of a
model do.
Writes ``layers.json`` and ``layers.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from blast_deploy import native
from blast_deploy.bench import statistics, timing
from blast_deploy.bench.clock import clock_for
from blast_deploy.bench.machine import describe_machine
from blast_deploy.structures import contract
from blast_deploy.structures.blast import packing
from blast_deploy.structures.blast.matrix import BlastMatrix, cost, rank_for

Caches = Literal["hot", "cold"]

COLD_BYTES = 64 << 20
"""Dense weights that follow each other when timing cold: more than the caches of the machines we use."""
CALL_NS = 1_000_000
"""Runs are repeated within one timed call to take at least about this long."""


@dataclass(frozen=True)
class Layer:
    """A layer to time; its rank is the largest that keeps ``keep`` of the parameters."""

    out_features: int
    in_features: int
    blocks: int
    keep: float = 0.5

    @property
    def rank(self) -> int:
        """Rank that the parameters allow."""
        return rank_for(self.out_features, self.in_features, (self.blocks, self.blocks), self.keep)

    @property
    def name(self) -> str:
        """Sizes, blocks and rank."""
        return f"{self.out_features}x{self.in_features} b{self.blocks} r{self.rank}"


@dataclass(frozen=True)
class Result:
    """What one layer took for a number of rows; times are medians per layer."""

    layer: str
    rows: int
    caches: Caches
    dense_us: float
    kernel_us: float
    dense_gflops: float
    kernel_gflops: float
    ratio: float
    ratio_ci95: tuple[float, float]
    word: str
    doubts: tuple[str, ...]


LAYERS = (
    Layer(384, 384, 4),
    Layer(1536, 384, 4),
    Layer(384, 1536, 4),
    Layer(768, 768, 4),
    Layer(3072, 768, 4),
    Layer(4096, 4096, 16),
    Layer(11008, 4096, 16),
)
ROWS = (1, 16, 128, 512, 1024)


def build_model(layer: Layer, copies: int, kind: Literal["dense", "kernel"]) -> onnx.ModelProto:
    """Build a model of ``copies`` layers that all read X and share nothing else."""
    random = np.random.default_rng(0)
    nodes, initializers, outputs = [], [], []
    if kind == "kernel":
        initializers.append(numpy_helper.from_array(np.zeros(layer.out_features, np.float32), "bias"))
    for index in range(copies):
        weights = f"weights{index}"
        if kind == "dense":
            array = random.standard_normal((layer.in_features, layer.out_features), np.float32)
            nodes.append(helper.make_node("MatMul", ["X", weights], [f"Y{index}"]))
        else:
            array = packing.pack(_random_matrix(layer, random))
            nodes.append(_packed_node(layer, weights, f"Y{index}"))
        initializers.append(numpy_helper.from_array(array, weights))
        outputs.append(_tensor(f"Y{index}", layer.out_features))
    graph = helper.make_graph(nodes, kind, [_tensor("X", layer.in_features)], outputs, initializers)
    opsets = [
        helper.make_opsetid("", contract.OPSET),
        helper.make_opsetid(contract.DOMAIN, contract.DOMAIN_VERSION),
    ]
    return helper.make_model(graph, opset_imports=opsets, ir_version=contract.IR_VERSION)


def time_layer(layer: Layer, rows: int, caches: Caches, rounds: int) -> Result:
    """Time a layer's kernel and its dense MatMul, interleaved."""
    dense_parameters = layer.out_features * layer.in_features
    copies = 1 if caches == "hot" else max(2, math.ceil(COLD_BYTES / (4 * dense_parameters)))
    random = np.random.default_rng(1)
    x = random.standard_normal((rows, layer.in_features), np.float32)
    clock = clock_for(1)
    calls, runs = {}, {}
    for kind in ("dense", "kernel"):
        session = _session(build_model(layer, copies, kind))
        calls[kind], runs[kind] = _repeated(_bound(session, x, layer.out_features), clock.read_ns)
    timings = timing.interleave(calls, clock, rounds=rounds)
    dense, kernel = (
        timings[kind].round_medians * 1000 / (copies * runs[kind]) for kind in ("dense", "kernel")
    )
    ratio = statistics.bootstrap_ratio(dense, kernel)
    flops = cost(
        layer.out_features, layer.in_features, (layer.blocks, layer.blocks), layer.rank
    ).flops_per_row
    dense_us, kernel_us = float(np.median(dense)), float(np.median(kernel))
    return Result(
        layer=layer.name,
        rows=rows,
        caches=caches,
        dense_us=dense_us,
        kernel_us=kernel_us,
        dense_gflops=2e-3 * dense_parameters * rows / dense_us,
        kernel_gflops=1e-3 * flops * rows / kernel_us,
        ratio=ratio.median,
        ratio_ci95=(ratio.low, ratio.high),
        word=statistics.word_for(ratio),
        doubts=timing.doubts(timings, clock),
    )


def markdown(results: list[Result]) -> str:
    """One table of all results."""
    lines = [
        "| layer | rows | caches | dense us | kernel us | dense GFLOP/s | kernel GFLOP/s | ratio | 95% |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.layer} | {r.rows} | {r.caches} | {r.dense_us:.1f} | {r.kernel_us:.1f} "
        f"| {r.dense_gflops:.0f} | {r.kernel_gflops:.0f} "
        f"| {r.ratio:.2f} | {r.ratio_ci95[0]:.2f} to {r.ratio_ci95[1]:.2f} |"
        for r in results
    ]
    return "\n".join([*lines, ""])


def _random_matrix(layer: Layer, random: np.random.Generator) -> BlastMatrix:
    b, r = layer.blocks, layer.rank
    p, q = math.ceil(layer.out_features / b), math.ceil(layer.in_features / b)
    u, s, v = (random.standard_normal(shape, np.float32) for shape in ((b, p, r), (b, b, r), (b, r, q)))
    return BlastMatrix(u, s, v, layer.out_features, layer.in_features)


def _packed_node(layer: Layer, weights: str, output: str) -> onnx.NodeProto:
    return helper.make_node(
        contract.BLAST_LINEAR_PACKED.name,
        ["X", weights, "bias"],
        [output],
        domain=contract.DOMAIN,
        in_features=layer.in_features,
        out_features=layer.out_features,
        blocks_out=layer.blocks,
        blocks_in=layer.blocks,
        rank=layer.rank,
        layout_version=packing.LAYOUT_VERSION,
        instruction_set=native.Library().instruction_sets()[0],
    )


def _tensor(name: str, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", width])


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.register_custom_ops_library(str(native.library_path()))
    return ort.InferenceSession(model.SerializeToString(), options)


def _bound(session: ort.InferenceSession, x: NDArray[Any], width: int) -> timing.Call:
    """A call that runs the session on memory that stays in place; copies of a layer share their output."""
    binding = session.io_binding()
    binding.bind_cpu_input("X", x)
    y = np.empty((x.shape[0], width), np.float32)
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu", 0, np.float32, list(y.shape), y.ctypes.data)

    def call() -> tuple[NDArray[Any], NDArray[Any]]:
        session.run_with_iobinding(binding)
        return x, y

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


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder for the results")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--layers", default="", help="only layers whose name contains this")
    parser.add_argument("--caches", choices=("hot", "cold", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


def main() -> None:
    """Time what was asked for and write it down."""
    arguments = _parse()
    results = []
    for layer in LAYERS:
        if arguments.layers not in layer.name:
            continue
        for rows in arguments.rows:
            for caches in ("hot", "cold") if arguments.caches == "both" else (arguments.caches,):
                results.append(time_layer(layer, rows, caches, arguments.rounds))
                print(markdown(results[-1:]).splitlines()[-1], flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    method = f"{clock_for(1).name}, one thread, interleaved, median of {arguments.rounds} rounds"
    record = {
        "machine": describe_machine(),
        "method": method,
        "results": [dataclasses.asdict(result) for result in results],
    }
    (arguments.output / "layers.json").write_text(json.dumps(record, indent=2) + "\n")
    (arguments.output / "layers.md").write_text(markdown(results))


if __name__ == "__main__":
    main()
