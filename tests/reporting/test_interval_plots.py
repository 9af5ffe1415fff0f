"""Pictures of GBLR layers: in files of their own and in the page, and refusals that change nothing."""

from __future__ import annotations

import dataclasses
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import example_results
import gblr_models
import pytest

import blast_deploy as bd
from blast_deploy.errors import InvalidInputError, MissingExtraError, OutputExistsError
from blast_deploy.reporting.intervals import intervals_figure, plot_intervals
from blast_deploy.results import InspectedLayer, Inspection, LayerIntervals, to_json
from blast_deploy.structures.gblr.coverage import intervals_of


def layer(name: str, model: str) -> InspectedLayer:
    matrix = gblr_models.odd(model)
    dense = matrix.out_features * matrix.in_features
    sizes = matrix.out_features, matrix.in_features
    return InspectedLayer(
        name,
        "GblrLinear",
        "float32",
        *sizes,
        "",
        matrix.cost.parameters,
        dense,
        intervals=intervals_of(matrix),
    )


def inspection(folder: Path, *models: str) -> Inspection:
    layers = tuple(layer(f"encoder.layer.{index}.query", model) for index, model in enumerate(models))
    return dataclasses.replace(example_results.inspection(folder), layers=layers)


@pytest.mark.parametrize("ending", ["svg", "png", "pdf", "PNG"])
def test_a_file_of_every_format(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"plot.{ending}"
    assert plot_intervals(inspection(tmp_path, *gblr_models.ODD), path) == path
    first = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[ending.lower()]
    assert path.read_bytes().startswith(first)


@pytest.mark.parametrize("count", [1, 2, 7, 41])
def test_every_layer_is_named_with_its_sizes(tmp_path: Path, count: int) -> None:
    svg = intervals_figure(inspection(tmp_path, *["wraps-around"] * count).layers, "masks")
    assert svg is not None
    words = " ".join(ET.fromstring(svg).itertext())
    assert words.count("11 × 7, 3 components") == count
    assert ("query" if count == 1 else f"{count - 1}.query") in words
    assert "encoder" not in words
    assert len(re.findall("<image ", svg)) == count + 1  # and the scale


def test_layers_of_other_structures_are_left_out(tmp_path: Path) -> None:
    blast = example_results.inspection(tmp_path).layers
    assert intervals_figure(blast, "masks") is None
    mixed = (*blast, layer("other", "full-width"))
    svg = intervals_figure(mixed, "masks")
    assert svg is not None
    assert "layer.0" not in " ".join(ET.fromstring(svg).itertext())


def test_the_page_draws_what_was_compressed_and_inspected(tmp_path: Path) -> None:
    compression = example_results.compression()
    (blast,) = compression.layers
    gblr = dataclasses.replace(
        blast,
        structure="gblr",
        out_features=11,
        in_features=7,
        intervals=intervals_of(gblr_models.odd("wraps-around")),
    )
    results = {
        "compress": dataclasses.replace(compression, structure="auto", layers=(blast, gblr)),
        "inspect": inspection(tmp_path, "full-width", "no-components"),
        "plain": compression,
    }
    paths = [tmp_path / f"{name}.json" for name in results]
    for path, result in zip(paths, results.values(), strict=True):
        path.write_bytes(to_json(result))
    html = bd.report(paths, tmp_path / "report.html").path.read_text()
    assert html.count("Mask maps, widths and budgets of 1 GBLR layers") == 1
    assert html.count("Mask maps, widths and budgets of 2 GBLR layers") == 1
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert "http" not in " ".join(re.findall(r'(?:src|href)="([^"]*)"', html))


def test_intervals_outside_the_axis_are_refused(tmp_path: Path) -> None:
    wrong = dataclasses.replace(layer("a", "full-width"), intervals=LayerIntervals((5,), (1,), (0,), (1,)))
    result = tmp_path / "inspect.json"
    result.write_bytes(to_json(dataclasses.replace(inspection(tmp_path), layers=(wrong,))))
    with pytest.raises(InvalidInputError, match=r"starts must lie in 0 \.\. 4"):
        bd.report([result], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, path = inspection(tmp_path, "full-width"), tmp_path / "plot.svg"
    with pytest.raises(InvalidInputError, match="has no GBLR layer"):
        plot_intervals(example_results.inspection(tmp_path), path)
    with pytest.raises(InvalidInputError, match=r"is written as \.svg, \.png, \.pdf"):
        plot_intervals(good, tmp_path / "plot.gif")
    with pytest.raises(InvalidInputError, match="does not exist"):
        plot_intervals(good, tmp_path / "no" / "plot.svg")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(MissingExtraError, match="matplotlib is not installed"):
            plot_intervals(good, path)
    assert list(tmp_path.iterdir()) == []
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="exists"):
        plot_intervals(good, path)
    assert path.read_text() == "mine"
    plot_intervals(good, path, force=True)
    assert path.read_text() != "mine"
