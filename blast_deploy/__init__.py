"""Make models with structured weight matrices run fast, provably right, on real devices.

Each stage is one function here and one verb of ``blast-deploy``. Importing this package imports neither
torch nor any backend; each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blast_deploy.bench.benchmark import benchmark
    from blast_deploy.calibration.calibrate import calibrate
    from blast_deploy.checkpoints.folder import load, save
    from blast_deploy.checkpoints.gaudi_gblr import load_gblr
    from blast_deploy.compiler import compile
    from blast_deploy.compression.compress import compress
    from blast_deploy.doctor import diagnose
    from blast_deploy.exporter.export import export
    from blast_deploy.inspection import inspect
    from blast_deploy.native import library_path
    from blast_deploy.quantizer import quantize
    from blast_deploy.reporting.intervals import plot_intervals
    from blast_deploy.reporting.report import report
    from blast_deploy.runner import open
    from blast_deploy.structures.blast.module import BlastLinear, replace_linear
    from blast_deploy.structures.gblr.gaudi import GaudiGblrLinear, SigmaAnnealing, freeze
    from blast_deploy.structures.gblr.module import GblrLinear
    from blast_deploy.structures.gblr.shrinkage import (
        Flops,
        MeanWidth,
        WidthShrinkage,
        model_flops,
        parameter_groups,
    )
    from blast_deploy.targets import list_targets
    from blast_deploy.verification.verify import verify

__version__ = "0.1.0"

_HOMES = {
    "BlastLinear": "blast_deploy.structures.blast.module",
    "Flops": "blast_deploy.structures.gblr.shrinkage",
    "GaudiGblrLinear": "blast_deploy.structures.gblr.gaudi",
    "GblrLinear": "blast_deploy.structures.gblr.module",
    "MeanWidth": "blast_deploy.structures.gblr.shrinkage",
    "SigmaAnnealing": "blast_deploy.structures.gblr.gaudi",
    "WidthShrinkage": "blast_deploy.structures.gblr.shrinkage",
    "benchmark": "blast_deploy.bench.benchmark",
    "calibrate": "blast_deploy.calibration.calibrate",
    "compile": "blast_deploy.compiler",
    "compress": "blast_deploy.compression.compress",
    "diagnose": "blast_deploy.doctor",
    "export": "blast_deploy.exporter.export",
    "freeze": "blast_deploy.structures.gblr.gaudi",
    "inspect": "blast_deploy.inspection",
    "library_path": "blast_deploy.native",
    "list_targets": "blast_deploy.targets",
    "load": "blast_deploy.checkpoints.folder",
    "load_gblr": "blast_deploy.checkpoints.gaudi_gblr",
    "model_flops": "blast_deploy.structures.gblr.shrinkage",
    "open": "blast_deploy.runner",
    "parameter_groups": "blast_deploy.structures.gblr.shrinkage",
    "plot_intervals": "blast_deploy.reporting.intervals",
    "quantize": "blast_deploy.quantizer",
    "replace_linear": "blast_deploy.structures.blast.module",
    "report": "blast_deploy.reporting.report",
    "save": "blast_deploy.checkpoints.folder",
    "verify": "blast_deploy.verification.verify",
}

__all__ = [
    "BlastLinear",
    "Flops",
    "GaudiGblrLinear",
    "GblrLinear",
    "MeanWidth",
    "SigmaAnnealing",
    "WidthShrinkage",
    "benchmark",
    "calibrate",
    "compile",
    "compress",
    "diagnose",
    "export",
    "freeze",
    "inspect",
    "library_path",
    "list_targets",
    "load",
    "load_gblr",
    "model_flops",
    "open",
    "parameter_groups",
    "plot_intervals",
    "quantize",
    "replace_linear",
    "report",
    "save",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'blast_deploy' has no attribute {name!r}")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        from blast_deploy.errors import MissingExtraError

        raise MissingExtraError("torch", "torch") from None


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
