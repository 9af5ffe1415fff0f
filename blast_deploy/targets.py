"""Targets: where a model will run, as data. One TOML file describes one target; users can bring their own."""

from __future__ import annotations

import dataclasses
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import msgspec

from blast_deploy.backends.registry import load_backend
from blast_deploy.errors import InvalidInputError
from blast_deploy.results import CostName, Form, MachinePeaks
from blast_deploy.structures.contract import GBLR_LINEAR, Q_BLAST_LINEAR

_FILES = "blast_deploy.target_files"
Positive = Annotated[float, msgspec.Meta(ge=1e-6, le=1e12)]
"""Bounded, so that no time that follows is infinite: JSON has no word for that, and manifests are JSON."""


NotNegative = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class FormCosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Constants of the time model of one form; see ``planning/cost.py`` for the formula.

    Attributes:
        call_microseconds: Time of a call that does nothing.
        gigaflops: Rate of arithmetic, 10^9 operations a second (a multiply-add counts two).
        gigabytes_per_second: Rate at which weights are read from the caches that all cores share.
        block_nanoseconds: Time that each block of the factors adds for each row, however small it is.
        values_gigabytes_per_second: Rate at which intermediate values and the output move; None where it is
            that of the weights.
    """

    call_microseconds: Positive
    gigaflops: Positive
    gigabytes_per_second: Positive
    block_nanoseconds: NotNegative = 0.0
    values_gigabytes_per_second: Positive | None = None


class MemoryCosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What weights cost that no cache holds: those of a whole model are read anew in every run.

    Attributes:
        last_cache_bytes: Weights of a model that the last cache holds.
        cache_gigabytes_per_second: Rate at which a core reads from that cache.
        gigabytes_per_second: Rate at which a core reads from memory.
    """

    last_cache_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**50)]
    cache_gigabytes_per_second: Positive
    gigabytes_per_second: Positive


class ScheduleCosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the packed kernel's schedule goes by: its tiles, and when threads pay.

    Attributes:
        largest_tile_rows: Most rows that one pass over the weights computes.
        handoff_microseconds: What it costs to hand a part of the work to another thread of the runtime's
            pool and wait for it; a part that is shorter is not worth another thread.
    """

    largest_tile_rows: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    handoff_microseconds: NotNegative


_SAME_CODE: dict[Form, CostName] = {"dequantised": "kernel"}
"""Forms that another's code computes, on factors prepared otherwise."""
_OWN_KERNELS: dict[str, CostName] = {
    Q_BLAST_LINEAR.name: "quantized_kernel",
    GBLR_LINEAR.name: "gblr_kernel",
}
"""Operators whose kernels are other code than BLAST's."""


class Costs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Constants of the time model for one thread of the target, and where they come from.

    Attributes:
        origin: How the constants came about, in words: measured on what and how, or estimated from what.
        kernel: The operator library's packed kernel; None where the target has none.
        quantized_kernel: The integer kernel of quantised layers; None to take ``kernel``.
        gblr_kernel: The kernel of GBLR layers; None to take ``kernel``.
        body: The operator's function body in standard operators.
        dense: The multiplied-out weight in the runtime's own operators.
        memory: What weights cost that no cache holds; None where all models are taken to fit.
        schedule: What the packed kernel's schedule goes by; None leaves it to the library.
    """

    origin: str
    body: FormCosts
    dense: FormCosts
    kernel: FormCosts | None = None
    quantized_kernel: FormCosts | None = None
    gblr_kernel: FormCosts | None = None
    memory: MemoryCosts | None = None
    schedule: ScheduleCosts | None = None

    def of(self, form: Form, operator: str) -> FormCosts | None:
        """The constants of a form of an operator; None where the target does not have it."""
        usual: FormCosts | None = getattr(self, _SAME_CODE.get(form, form))
        if form != "kernel" or usual is None or operator not in _OWN_KERNELS:
            return usual
        own: FormCosts | None = getattr(self, _OWN_KERNELS[operator])
        return own or usual


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a model will run.

    Attributes:
        name: What ``--target`` calls it.
        summary: What it promises, in one line.
        backend: The backend that lowers for it; see ``backends/registry.py``.
        costs: Constants for the planner.
        options: Settings of the backend, checked by it.
        peaks: What a core of the machine that the costs were measured on can do at most, for the reader.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
    summary: str
    backend: str
    costs: Costs
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    peaks: MachinePeaks | None = None


@dataclasses.dataclass(frozen=True)
class TargetStatus:
    """A target and what this machine can do with it.

    Attributes:
        name: The target's name.
        summary: What it promises.
        backend: The backend that lowers for it.
        runs_here: Whether an artifact for it can be opened on this machine.
        compiles_here: Whether a model can be compiled for it on this machine.
        reason: Why not, where one of them is not so; empty otherwise.
    """

    name: str
    summary: str
    backend: str
    runs_here: bool
    compiles_here: bool
    reason: str


def load_target(name_or_path: str | Path | Target) -> Target:
    """Find a target by name, or read a TOML file of the user's own.

    Args:
        name_or_path: One of the names that ``list_targets`` gives, a path that ends in ``.toml``, or a
            target already loaded.

    Raises:
        InvalidInputError: If there is no such target or file, or the file is not a target.
    """
    if isinstance(name_or_path, Target):
        return name_or_path
    if str(name_or_path).endswith(".toml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise InvalidInputError(
                f"target file {path} does not exist; give a name or the path of a TOML file"
            )
        return decode(path.read_bytes(), str(path))
    file = resources.files(_FILES) / f"{name_or_path}.toml"
    if str(name_or_path) not in target_names() or not file.is_file():
        raise InvalidInputError(
            f"there is no target {str(name_or_path)!r}; it must be one of {', '.join(target_names())}, "
            "or the path of a TOML file"
        )
    return decode(file.read_bytes(), file.name)


def target_names() -> tuple[str, ...]:
    """Names of the targets that are installed, sorted."""
    files = resources.files(_FILES).iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def list_targets() -> tuple[TargetStatus, ...]:
    """Every installed target, with whether this machine can compile for it and run it, and why not."""
    return tuple(_status(load_target(name)) for name in target_names())


def decode(content: bytes, origin: str) -> Target:
    """Read the TOML of one target strictly: unknown keys and wrong types are refused.

    Args:
        content: The file's bytes.
        origin: The file's name, for errors.

    Raises:
        InvalidInputError: Naming the file and the key.
    """
    try:
        values = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"target file {origin} is not valid TOML ({error}); mend it") from error
    try:
        target = msgspec.convert(values, Target)
    except msgspec.ValidationError as error:
        raise InvalidInputError(
            f"target file {origin} is not a target ({_spoken(error)}); mend it"
        ) from error
    try:
        load_backend(target.backend).check_options(target)
    except (InvalidInputError, msgspec.ValidationError) as error:
        raise InvalidInputError(
            f"target file {origin} is not a target ({_spoken(error)}); mend it"
        ) from error
    return target


def _status(target: Target) -> TargetStatus:
    backend = load_backend(target.backend)
    no_compile, no_run = backend.compile_obstacle(target), backend.run_obstacle(target)
    reasons = dict.fromkeys(reason for reason in (no_compile, no_run) if reason is not None)
    return TargetStatus(
        name=target.name,
        summary=target.summary,
        backend=target.backend,
        runs_here=no_run is None,
        compiles_here=no_compile is None,
        reason="; ".join(reasons),
    )


def _spoken(error: Exception) -> str:
    """Say a msgspec error with the key where this file's readers look for it."""
    return str(error).replace(" - at `", ", at `").replace("`$.", "`").replace("Object", "the table")
