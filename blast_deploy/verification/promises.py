"""Kept together: what the manifest, the reference and the factors say of one another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from blast_deploy.artifact import Artifact
from blast_deploy.errors import BlastDeployError
from blast_deploy.factors import layer_names
from blast_deploy.reference import Sample


def broken_promises(artifact: Artifact, samples: Sequence[Sample]) -> tuple[str, ...]:
    """Where the parts of an artifact contradict each other, in words."""
    manifest = artifact.manifest
    faults = []
    if len(samples) != manifest.samples:
        faults.append(f"the reference holds {len(samples)} samples, the manifest says {manifest.samples}")
    if manifest.plan.target != manifest.target.name:
        faults.append(
            f"the plan is for target {manifest.plan.target}, the artifact for {manifest.target.name}"
        )
    deployed = sum(file.bytes for file in manifest.files if file.role != "reference")
    if deployed != manifest.deployed_bytes:
        faults.append(
            f"the deployed files have {deployed} bytes, the manifest says {manifest.deployed_bytes}"
        )
    try:
        kept = layer_names(artifact.factors)
    except BlastDeployError as error:
        return (*faults, str(error))
    forgotten = sorted(kept - {record.name for record in manifest.layers})
    return (*faults, *(f"layer {name} has factors, but the manifest does not name it" for name in forgotten))


def indistinct_inputs(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Inputs that are equal in every sample, so that nothing would show if they were swapped, in words."""
    return tuple(
        f"inputs {first} and {second} are equal in every sample, so nothing would show if they were swapped; "
        "give samples in which they differ"
        for first, second in combinations(samples[0].inputs, 2)
        if all(_equal(sample, first, second) for sample in samples)
    )


def _equal(sample: Sample, first: str, second: str) -> bool:
    one, other = sample.inputs.get(first), sample.inputs.get(second)
    if one is None or other is None:
        return False
    return one.dtype == other.dtype and np.array_equal(one, other)
