"""What this machine has and lacks: processor, operator library, runtimes and extras, with what mends each."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from blast_deploy import native
from blast_deploy.errors import BlastDeployError
from blast_deploy.results import Diagnosis, Finding
from blast_deploy.targets import list_targets

_NEEDED = ("numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "safetensors", "msgspec")
_EXTRAS = {"torch": "torch", "transformers": "models", "jinja2": "report", "matplotlib": "report"}


def diagnose() -> Diagnosis:
    """Look at this machine and installation.

    Returns:
        The machine, and findings: what is there with its version, what is missing with the command that
        mends it, and which targets can be compiled for and run.
    """
    findings = (
        _library_found(),
        _library_loads(),
        *(_package(name, None, needed=True) for name in _NEEDED),
        *(
            _package(name, f"pip install 'blast-deploy[{extra}]'", needed=False)
            for name, extra in _EXTRAS.items()
        ),
        *_targets(),
    )
    return Diagnosis(
        machine=_machine(), findings=findings, healthy=all(each.present for each in findings if each.needed)
    )


def _machine() -> dict[str, str]:
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": _memory(),
        "python": platform.python_version(),
        "instruction sets": _instruction_sets(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _memory() -> str:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{pages * size / 2**30:.1f} GiB"


def _instruction_sets() -> str:
    try:
        return ", ".join(native.Library().instruction_sets())
    except BlastDeployError:
        return "unknown without the operator library"


def _library_found() -> Finding:
    try:
        library = native.Library()
        operators = ", ".join(f"{name} {number}" for name, number in library.operators().items())
        described = f"{library.version} at {library.path}: {operators or 'no operators'}"
    except BlastDeployError as error:
        return Finding(
            "operator library", False, True, str(error), "pip install --force-reinstall blast-deploy"
        )
    return Finding("operator library", True, True, described, "")


def _library_loads() -> Finding:
    """Register the library with the runtime: the one step that shows that the two fit together."""
    subject = "operator library in onnxruntime"
    try:
        import onnxruntime

        onnxruntime.SessionOptions().register_custom_ops_library(str(native.library_path()))
    except Exception as error:  # the runtime raises types of its own that share no public base
        return Finding(subject, False, True, str(error), "pip install --upgrade onnxruntime blast-deploy")
    return Finding(subject, True, True, f"registers with onnxruntime {onnxruntime.__version__}", "")


def _package(name: str, remedy: str | None, *, needed: bool) -> Finding:
    supported = _supported(name)
    remedy = remedy or f"pip install '{name}{supported}'"
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(name, False, needed, "not installed", remedy)
    if not supported.contains(found, prereleases=True):
        return Finding(name, False, needed, f"{found} is outside the supported range {supported}", remedy)
    return Finding(name, True, needed, found, "")


def _supported(name: str) -> SpecifierSet:
    """The versions of a package that this one says it works with."""
    wanted = map(Requirement, requires("blast-deploy") or ())
    return next((each.specifier for each in wanted if canonicalize_name(each.name) == name), SpecifierSet())


def _targets() -> tuple[Finding, ...]:
    return tuple(
        Finding(
            f"target {status.name}",
            status.runs_here and status.compiles_here,
            False,
            status.reason or "compiles and runs here",
            "" if status.runs_here else "compile for another target, or run on a machine that has it",
        )
        for status in list_targets()
    )
