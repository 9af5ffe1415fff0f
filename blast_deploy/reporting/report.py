"""Writes results as one self-contained HTML page."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blast_deploy import __version__
from blast_deploy.errors import InvalidInputError, MissingExtraError, OutputExistsError
from blast_deploy.reporting import formats
from blast_deploy.reporting.documents import Documents, read_documents
from blast_deploy.reporting.figures import latency_figure, pareto_figure
from blast_deploy.reporting.intervals import DrawnLayer, intervals_figure
from blast_deploy.reporting.models import Models, shape_text
from blast_deploy.reporting.tiles import summary_tiles
from blast_deploy.results import ReportResult
from blast_deploy.staging import write_whole

TEMPLATE = "page.html.j2"


def report(paths: Sequence[str | Path], output: str | Path, *, force: bool = False) -> ReportResult:
    """Write a page from any mix of results and artifacts.

    Args:
        paths: JSON files that ``--json`` of a stage wrote, and artifact folders.
        output: The HTML file to write.
        force: Replace it if it exists.

    Returns:
        Where the page is and how large.

    Raises:
        InvalidInputError: If a path is no result, or the output cannot be written.
        OutputExistsError: If the output exists and ``force`` is not given.
        MissingExtraError: If jinja2 or matplotlib is not installed.
    """
    target = Path(output)
    if target.is_dir() or (target.exists() and not force):
        raise OutputExistsError(f"{target} exists; choose another output or use force to replace it")
    page = render(read_documents(paths)).encode()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(
            f"{target} cannot be written ({error.strerror}); choose another output"
        ) from error
    if target.exists() and not force:
        raise OutputExistsError(f"{target} exists by now; choose another output or use force to replace it")
    write_whole(target, page)
    return ReportResult(target, len(page))


def render(documents: Documents) -> str:
    """Write the page's HTML.

    Raises:
        MissingExtraError: If jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise MissingExtraError("jinja2", "report") from None
    environment = Environment(
        loader=PackageLoader("blast_deploy", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "bytes": formats.write_bytes,
        "count": formats.write_count,
        "percent": formats.write_percent,
        "decimal": formats.write_decimal,
        "significant": formats.write_significant,
        "error": formats.write_error,
        "shape": shape_text,
    }
    environment.filters.update(filters)
    models = Models(documents)
    figures = [
        Markup(latency_figure(benchmark, models, f"latency{index}"))
        for index, benchmark in enumerate(documents.benchmarks)
    ]
    layers: dict[str, list[Sequence[DrawnLayer]]] = {
        "compressed": [each.layers for each in documents.compressions],
        "inspected": [each.layers for each in documents.inspections],
    }
    structures = {
        kind: [intervals_figure(each, f"{kind}{index}") for index, each in enumerate(found)]
        for kind, found in layers.items()
    }
    pareto = pareto_figure(models, "pareto")
    return environment.get_template(TEMPLATE).render(
        documents=documents,
        models=models.all(),
        measure=models.measure(),
        tiles=summary_tiles(documents, models),
        latency_figures=figures,
        pareto_figure=Markup(pareto) if pareto else None,
        interval_figures={
            kind: [Markup(svg) if svg else None for svg in drawn] for kind, drawn in structures.items()
        },
        version=__version__,
        written=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )
