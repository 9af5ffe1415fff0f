"""The machine that figures were measured on, in words."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

from blast_deploy import __version__
from blast_deploy.bench.load import usable_cpus


def describe_machine() -> dict[str, str]:
    """What a reader needs to know to place the figures."""
    return {
        "processor": _processor(),
        "usable CPUs": str(len(usable_cpus())),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "ONNX Runtime": version("onnxruntime"),
        "blast-deploy": __version__,
    }


def _processor() -> str:
    """The processor's name, with family and model where its name says little."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in lines)
    fields: dict[str, str] = {}
    for key, _, value in pairs:
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name", platform.machine())
    if "cpu family" in fields and "model" in fields:
        return f"{name} (family {fields['cpu family']}, model {fields['model']})"
    return name
