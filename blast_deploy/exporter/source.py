"""What is exported: a module with its example call and sample inputs, from a folder or from the caller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor, from_numpy, nn

from blast_deploy.errors import InvalidInputError
from blast_deploy.exporter.call import Axes, Call, make_call
from blast_deploy.exporter.truth import detached_copy
from blast_deploy.families.family import family

Inputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Source:
    """A module ready for export.

    Attributes:
        module: A copy, on the CPU and in evaluation mode.
        call: Example arguments.
        axes: Dynamic axes by input name.
        output_names: Names of the outputs, or None for torch's own.
        samples: Inputs by name to record outputs for.
        dense_module: The dense original, called in the same way, or None.
        dense_outputs: Its float64 outputs for each sample where they are known already, or None.
        prefix: What stands before the names of the caller's layers in ``module``.
    """

    module: nn.Module
    call: Call
    axes: Axes
    output_names: tuple[str, ...] | None
    samples: tuple[Inputs, ...]
    dense_module: nn.Module | None = None
    dense_outputs: tuple[Inputs, ...] | None = None
    prefix: str = ""


def from_module(
    module: nn.Module,
    example: Tensor | Sequence[Any] | Mapping[str, Any],
    *,
    input_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
    axes: Axes | None,
    samples: Iterable[Inputs] | None,
    dense_module: nn.Module | None,
) -> Source:
    """Take a module and example arguments; by default the example is the one sample."""
    copied = detached_copy(module)
    call = make_call(copied, example, input_names)
    return Source(
        module=copied,
        call=call,
        axes=axes or {},
        output_names=None if output_names is None else tuple(output_names),
        samples=(call.inputs(),) if samples is None else tuple(samples),
        dense_module=None if dense_module is None else detached_copy(dense_module),
    )


def from_family(
    module: nn.Module, *, samples: Iterable[Inputs] | None, dense_module: nn.Module | None
) -> Source:
    """Take a Hugging Face model; its family knows the inputs, outputs, dynamic axes and samples.

    Raises:
        InvalidInputError: If no family adapts the model.
    """
    adapter = family(module)
    copied = detached_copy(module)
    wrapped = adapter.wrap(copied).eval()
    inside = next((name for name, child in wrapped.named_modules() if child is copied), "")
    made = adapter.sample_inputs()
    example = tuple(from_numpy(made[0][name]) for name in adapter.input_names)
    return Source(
        module=wrapped,
        call=make_call(wrapped, example, adapter.input_names),
        axes=adapter.dynamic_axes,
        output_names=adapter.output_names,
        samples=made if samples is None else tuple(samples),
        dense_module=None if dense_module is None else adapter.wrap(detached_copy(dense_module)).eval(),
        prefix=f"{inside}." if inside else "",
    )


def from_folder(folder: Path, *, samples: Iterable[Inputs] | None, dense_module: nn.Module | None) -> Source:
    """Take a model folder; the samples and outputs of the dense original that it carries come along.

    Raises:
        InvalidInputError: If the folder cannot be loaded, or no family adapts the model.
    """
    from blast_deploy.checkpoints.folder import dense_reference, load

    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is no folder; give a model folder, such as compress writes")
    source = from_family(load(folder), samples=samples, dense_module=dense_module)
    known = dense_reference(folder)
    if samples is not None or dense_module is not None or known is None:
        return source
    return replace(
        source,
        samples=tuple(sample.inputs for sample in known.samples),
        dense_outputs=tuple(sample.outputs for sample in known.samples),
    )
