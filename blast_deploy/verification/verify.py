"""Is the artifact right? Complete, in place and within the derived bounds, or it does not pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from blast_deploy import reference, runner
from blast_deploy.artifact import (
    Artifact,
    file_faults,
    hash_faults,
    read_artifact,
    seal_faults,
    unnamed_faults,
)
from blast_deploy.errors import BlastDeployError, UnsupportedMachineError
from blast_deploy.factors import has_quantised_layers
from blast_deploy.reference import Sample
from blast_deploy.results import Comparison, VerificationResult
from blast_deploy.runner import Outputs, Runner, Taps
from blast_deploy.verification.layers import compare_layers, entering_faults
from blast_deploy.verification.loss import compression_loss
from blast_deploy.verification.outputs import compare_outputs, compare_tensors
from blast_deploy.verification.placement import misplaced_layers
from blast_deploy.verification.promises import broken_promises, indistinct_inputs
from blast_deploy.verification.words import counted, describe_comparisons, describe_kernels

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
        InvalidInputError: If there is no artifact, its manifest cannot be read, or ``threads`` is out of
            range.
        UnsupportedMachineError: If its format is newer than this version reads.
    """
    runner.check_threads(threads)
    opened = read_artifact(artifact)
    steps = _Steps(4 + (len(opened.manifest.layers) if layers else 0), progress)
    steps.next("file hashes")
    faults = (*seal_faults(opened), *(file_faults(opened) or hash_faults(opened)), *unnamed_faults(opened))
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


@dataclass(frozen=True)
class _Capture:
    """What was captured of each sample, or why nothing was."""

    taps: tuple[Taps, ...] = ()
    failed: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()


def _judge(
    artifact: Artifact, running: Runner, samples: Sequence[Sample], layers: bool, steps: _Steps
) -> VerificationResult:
    manifest = artifact.manifest
    try:
        steps.next("outputs")
        outputs = [running.run(sample.inputs) for sample in samples]
        steps.next("executed operators")
        executed = running.executed_operators()
    except UnsupportedMachineError as error:
        return _result(artifact, unjudged=(str(error),))
    except BlastDeployError as error:
        return _result(artifact, failed=(f"the artifact does not run on its own samples: {error}",))
    steps.next("layer inputs and outputs")
    capture = _capture(artifact, running, samples, outputs)
    # Nothing more is run: the layers are judged without the model's weights in memory.
    running.close()
    quantised = has_quantised_layers(record.operator for record in manifest.layers)
    compared = compare_outputs(manifest.outputs, outputs, samples, manifest.tolerance, quantised=quantised)
    by_layer: tuple[Comparison, ...] = ()
    if layers and capture.taps:
        epilogues = {layer.layer: layer.epilogue for layer in manifest.plan.layers}
        by_layer = compare_layers(manifest.layers, capture.taps, artifact.factors, steps.next, epilogues)
    loss, without_loss = compression_loss(samples)
    return _result(
        artifact,
        failed=(
            *broken_promises(artifact, samples),
            *misplaced_layers(manifest, executed),
            *capture.failed,
            *(() if compared else ("the artifact has no output, so nothing was compared",)),
        ),
        unjudged=(*indistinct_inputs(samples), *capture.unjudged),
        outputs=compared,
        layers=by_layer,
        kernels=executed,
        compression_loss=loss,
        summary=(
            f"{counted(len(manifest.files) + 1, 'file')} unchanged by their sha256",
            f"{describe_comparisons(compared, 'output')}, over {counted(len(samples), 'sample')}",
            describe_kernels(executed),
            _describe_layers(artifact, by_layer),
            *without_loss,
        ),
    )


def _capture(
    artifact: Artifact, running: Runner, samples: Sequence[Sample], outputs: Sequence[Outputs]
) -> _Capture:
    try:
        tapped = [running.run_tapped(sample.inputs) for sample in samples]
    except UnsupportedMachineError as error:
        return _Capture(unjudged=(str(error),))
    except BlastDeployError as error:
        return _Capture(failed=(f"what enters and leaves the layers cannot be captured: {error}",))
    taps = tuple(own for _, own in tapped)
    failed = (
        *entering_faults(artifact.manifest.layers, taps),
        *_tapping_faults(artifact, outputs, [own for own, _ in tapped]),
    )
    return _Capture(taps, failed)


def _describe_layers(artifact: Artifact, compared: tuple[Comparison, ...]) -> str:
    if compared:
        return f"{describe_comparisons(compared, 'layer')}, on the rows that really entered them"
    count = len(artifact.manifest.layers)
    return f"none of {counted(count, 'structured layer')} compared by itself" + (
        "; --layers does that" if count else ""
    )


def _tapping_faults(
    artifact: Artifact, outputs: Sequence[Outputs], tapped: Sequence[Outputs]
) -> tuple[str, ...]:
    """What was captured speaks for the artifact only if capturing did not change its outputs."""
    faults = []
    names = dict.fromkeys(name for each in (*outputs, *tapped) for name in each)
    for name in dict.fromkeys((*(spec.name for spec in artifact.manifest.outputs), *names)):
        bound = artifact.manifest.tolerance.get(name)
        if not all(name in each for each in (*outputs, *tapped)):
            faults.append(
                f"output {name} is missing with layer capture or without, so capture proves nothing"
            )
        elif bound is not None:
            plain, captured = _of(name, outputs), _of(name, tapped)
            described = f"output {name} with capture on"
            comparison = compare_tensors(name, captured, plain, bound, described, "all samples")
            if comparison.verdict == "failed":
                faults.append(comparison.reason.replace("against float64", "against the run without it"))
    return tuple(faults)


def _of(name: str, outputs: Sequence[Outputs]) -> list[NDArray[Any]]:
    return [each[name] for each in outputs]


def _result(
    artifact: Artifact,
    *,
    failed: Sequence[str] = (),
    unjudged: Sequence[str] = (),
    outputs: tuple[Comparison, ...] = (),
    layers: tuple[Comparison, ...] = (),
    kernels: dict[str, str] | None = None,
    compression_loss: dict[str, float] | None = None,
    summary: tuple[str, ...] = (),
) -> VerificationResult:
    compared = (*outputs, *layers)
    failed = (*failed, *(each.reason for each in compared if each.verdict == "failed"))
    unjudged = (*unjudged, *(each.reason for each in compared if each.verdict == "unjudged"))
    return VerificationResult(
        artifact=artifact.path,
        verdict="failed" if failed else "unjudged" if unjudged else "passed",
        reasons=tuple(dict.fromkeys((*failed, *unjudged))),
        outputs=outputs,
        layers=layers,
        kernels=kernels or {},
        compression_loss=compression_loss,
        summary=summary,
    )
