"""Is the artifact right? Complete, in place and within the derived bounds, or it does not pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blast_deploy import reference, runner
from blast_deploy.artifact import Artifact, file_faults, hash_faults, read_artifact
from blast_deploy.errors import BlastDeployError, UnsupportedMachineError
from blast_deploy.reference import Sample
from blast_deploy.results import Comparison, VerificationResult
from blast_deploy.runner import Outputs, Runner, Taps
from blast_deploy.tolerance import deviation
from blast_deploy.verification.layers import compare_layers, degenerate_layers
from blast_deploy.verification.outputs import compare_outputs, compare_tensors
from blast_deploy.verification.placement import misplaced_layers

Progress = Callable[[int, int, str], None]


def verify(
    artifact: str | Path,
    *,
    layers: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> VerificationResult:
    """Judge an artifact against float64 on this machine.

    Args:
        artifact: The folder that compile wrote.
        layers: Also judge every structured layer by itself, on what the runtime really feeds it.
        threads: Threads of the runtime; None leaves the choice to it.
        progress: Called with steps done, steps in all and what comes next.

    Returns:
        The verdict with every number it rests on: ``unjudged`` where this machine cannot run the artifact or
        there is nothing to judge it by, ``failed`` for any doubt, ``passed`` only when nothing was missed.

    Raises:
        InvalidInputError: If there is no artifact, its manifest cannot be read, or ``threads`` is below 1.
        UnsupportedMachineError: If its format is newer than this version reads.
    """
    runner.check_threads(threads)
    opened = read_artifact(artifact)
    steps = _Steps(4 + (len(opened.manifest.layers) if layers else 0), progress)
    steps.next("file hashes")
    faults = file_faults(opened) or hash_faults(opened)
    if faults:
        return _result(opened, failed=faults)
    try:
        samples = reference.load(opened.samples, opened.manifest.source.sha256).samples
    except BlastDeployError as error:
        return _result(opened, failed=(str(error),))
    if not samples:
        return _result(opened, unjudged=("the artifact holds no reference samples",))
    try:
        running = runner.open(opened.path, threads=threads)
    except UnsupportedMachineError as error:
        return _result(opened, unjudged=(str(error),))
    except BlastDeployError as error:
        return _result(opened, failed=(str(error),))
    with running:
        return _judge(opened, running, samples, layers, steps)


@dataclass
class _Steps:
    """Counts steps for the progress callback."""

    total: int
    report: Progress | None
    done: int = field(default=0)

    def next(self, description: str) -> None:
        if self.report is not None:
            self.report(self.done, self.total, description)
        self.done += 1


def _judge(
    artifact: Artifact, running: Runner, samples: Sequence[Sample], layers: bool, steps: _Steps
) -> VerificationResult:
    manifest = artifact.manifest
    try:
        steps.next("outputs")
        outputs = [running.run(sample.inputs) for sample in samples]
        steps.next("executed operators")
        executed = running.executed_operators()
        steps.next("layer inputs and outputs")
        tapped = [running.run_tapped(sample.inputs) for sample in samples]
    except UnsupportedMachineError as error:
        return _result(artifact, unjudged=(str(error),))
    except BlastDeployError as error:
        return _result(artifact, failed=(f"the artifact does not run on its own samples: {error}",))
    # Nothing more is run: the layers are judged without the model's weights in memory.
    running.close()
    captured = [taps for _, taps in tapped]
    names = [spec.name for spec in manifest.outputs]
    faults = [
        *misplaced_layers(manifest, executed),
        *degenerate_layers(manifest.layers, captured),
        *_tapping_faults(artifact, outputs, [each for each, _ in tapped]),
    ]
    if len(samples) != manifest.samples:
        faults.append(f"the reference holds {len(samples)} samples, the manifest says {manifest.samples}")
    return _result(
        artifact,
        failed=tuple(faults),
        outputs=compare_outputs(names, outputs, samples, manifest.tolerance),
        layers=_compare_layers(artifact, captured, steps) if layers else (),
        kernels=executed,
        compression_loss=_compression_loss(samples),
    )


def _compare_layers(artifact: Artifact, captured: Sequence[Taps], steps: _Steps) -> tuple[Comparison, ...]:
    return compare_layers(artifact.manifest.layers, captured, artifact.factors, steps.next)


def _tapping_faults(
    artifact: Artifact, outputs: Sequence[Outputs], tapped: Sequence[Outputs]
) -> tuple[str, ...]:
    """What was captured speaks for the artifact only if capturing did not change its outputs."""
    faults = []
    for spec in artifact.manifest.outputs:
        bound = artifact.manifest.tolerance.get(spec.name)
        pairs = list(zip(outputs, tapped, strict=True))
        if bound is None or not all(spec.name in plain and spec.name in taps for plain, taps in pairs):
            faults.append(
                f"output {spec.name} is missing with layer capture or without, so capture proves nothing"
            )
            continue
        plain, captured = _both(spec.name, pairs)
        comparison = compare_tensors(spec.name, captured, plain, bound, f"output {spec.name} with capture on")
        if comparison.reason:
            faults.append(comparison.reason.replace("against float64", "against the run without it"))
    return tuple(faults)


def _both(
    name: str, pairs: Sequence[tuple[Outputs, Outputs]]
) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    return [plain[name] for plain, _ in pairs], [taps[name] for _, taps in pairs]


def _compression_loss(samples: Sequence[Sample]) -> dict[str, float] | None:
    """Relative error (root mean square) that compression brought, in float64; the worst sample's."""
    compared = [(sample.outputs, sample.dense_outputs) for sample in samples if sample.dense_outputs]
    if not compared:
        return None
    losses: dict[str, float] = {}
    for outputs, dense in compared:
        for name in outputs.keys() & dense.keys():
            if outputs[name].shape == dense[name].shape and np.isfinite(dense[name]).all():
                own = deviation(outputs[name], dense[name]).rms
                losses[name] = max(own, losses.get(name, 0.0))
    return losses


def _result(
    artifact: Artifact,
    *,
    failed: Sequence[str] = (),
    unjudged: Sequence[str] = (),
    outputs: tuple[Comparison, ...] = (),
    layers: tuple[Comparison, ...] = (),
    kernels: dict[str, str] | None = None,
    compression_loss: dict[str, float] | None = None,
) -> VerificationResult:
    compared = tuple(each.reason for each in (*outputs, *layers) if each.verdict != "passed")
    reasons = (*failed, *compared)
    return VerificationResult(
        artifact=artifact.path,
        verdict="failed" if reasons else "unjudged" if unjudged else "passed",
        reasons=reasons or tuple(unjudged),
        outputs=outputs,
        layers=layers,
        kernels=kernels or {},
        compression_loss=compression_loss,
    )
