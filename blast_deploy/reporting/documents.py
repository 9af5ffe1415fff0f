"""What a report is made from: result files of the stages, and artifacts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from blast_deploy.artifact import Artifact, read_artifact
from blast_deploy.errors import InvalidInputError
from blast_deploy.results import (
    BenchmarkResult,
    CompileResult,
    CompressionResult,
    ExportResult,
    Inspection,
    QualityResult,
    VerificationResult,
)

_ERRORS = ("rms_error", "max_error", "rms_bound", "max_bound")


@dataclass
class Documents:
    """Everything that was given, by kind, in the order given."""

    compressions: list[CompressionResult] = field(default_factory=list)
    exports: list[ExportResult] = field(default_factory=list)
    compilations: list[CompileResult] = field(default_factory=list)
    verifications: list[VerificationResult] = field(default_factory=list)
    benchmarks: list[BenchmarkResult] = field(default_factory=list)
    qualities: list[QualityResult] = field(default_factory=list)
    inspections: list[Inspection] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)


_KINDS: dict[str, Any] = {
    "compressions": CompressionResult,
    "exports": ExportResult,
    "compilations": CompileResult,
    "verifications": VerificationResult,
    "benchmarks": BenchmarkResult,
    "qualities": QualityResult,
    "inspections": Inspection,
}


def read_documents(paths: Sequence[str | Path]) -> Documents:
    """Read result files and artifact folders.

    Args:
        paths: JSON files that a stage wrote, and artifact folders, in any order.

    Raises:
        InvalidInputError: If there are none, or one is neither or damaged.
    """
    if not paths:
        raise InvalidInputError("a report needs at least one result file or artifact; give its path")
    documents = Documents()
    for given in paths:
        path = Path(given)
        if path.is_dir():
            documents.artifacts.append(read_artifact(path))
            continue
        kind, result = _read_result(path)
        getattr(documents, kind).append(result)
    return documents


def _read_result(path: Path) -> tuple[str, Any]:
    try:
        content = _with_nan(msgspec.json.decode(path.read_bytes()))
    except FileNotFoundError:
        raise InvalidInputError(
            f"{path} does not exist; give a JSON result file or an artifact folder"
        ) from None
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise InvalidInputError(
            f"{path} is not readable JSON ({error}); give a file that --json wrote, or an artifact folder"
        ) from error
    for kind, result_type in _KINDS.items():
        try:
            return kind, msgspec.convert(content, result_type, dec_hook=_decode_path)
        except msgspec.ValidationError:
            continue
    raise InvalidInputError(
        f"{path} is not a result that a report can show; give a file that --json of compress, export, "
        "compile, verify, bench or inspect wrote, or an artifact folder"
    )


def _decode_path(wanted: type, value: Any) -> Any:
    if wanted is Path:
        return Path(value)
    raise NotImplementedError(wanted)


def _with_nan(content: Any) -> Any:
    """Give errors that are not numbers back their NaN, which JSON can only write as null."""
    if isinstance(content, list):
        return [_with_nan(item) for item in content]
    if isinstance(content, dict):
        return {
            key: math.nan if value is None and key in _ERRORS else _with_nan(value)
            for key, value in content.items()
        }
    return content
