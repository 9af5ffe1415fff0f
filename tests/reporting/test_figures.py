"""Figures: the right marks, colours left to the page, nothing from elsewhere."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import example_results
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blast_deploy.reporting.documents import Documents, read_documents
from blast_deploy.reporting.figures import frontier, latency_figure, pareto_figure
from blast_deploy.reporting.models import Models


def test_the_latency_figure_names_every_contender_and_ratio(tmp_path: Path) -> None:
    benchmark = example_results.benchmark(tmp_path)
    svg = latency_figure(benchmark, Models(Documents(benchmarks=[benchmark])), "speed")
    words = " ".join(ET.fromstring(svg).itertext())
    for expected in ("artifact", "vs dense.onnx", "2.50 × faster", "1.50 × faster", "batch 8, sequence 128"):
        assert expected in words
    assert svg.startswith("<svg role=")


def test_colours_are_the_pages_own(tmp_path: Path) -> None:
    benchmark = example_results.benchmark(tmp_path)
    svg = latency_figure(benchmark, Models(Documents(benchmarks=[benchmark])), "speed")
    colours = set(re.findall(r"#[0-9a-fA-F]{6}\b", svg))
    assert colours <= {"#ffffff"}, colours
    assert "var(--ink)" in svg
    assert "var(--series-2)" in svg


def test_figures_do_not_share_ids(tmp_path: Path) -> None:
    benchmark = example_results.benchmark(tmp_path)
    models = Models(Documents(benchmarks=[benchmark]))
    ids = [set(re.findall(r'id="([^"]+)"', latency_figure(benchmark, models, name))) for name in ("a", "b")]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_references_inside_a_figure_hold(tmp_path: Path) -> None:
    models = Models(read_documents(example_results.write_all(tmp_path)))
    svg = pareto_figure(models, "pareto")
    assert svg is not None
    ids = set(re.findall(r'id="([^"]+)"', svg))
    used = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
    assert used
    assert used <= ids
    assert "mean cosine" in svg


def test_no_pareto_without_quality(tmp_path: Path) -> None:
    documents = Documents(benchmarks=[example_results.benchmark(tmp_path)])
    assert pareto_figure(Models(documents), "pareto") is None


def test_the_frontier_of_a_hand_worked_case() -> None:
    points = [(1.0, 0.5), (2.0, 0.9), (2.0, 0.7), (3.0, 0.8), (4.0, 1.0)]
    assert frontier(points) == [(1.0, 0.5), (2.0, 0.9), (4.0, 1.0)]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=30))
def test_nothing_beats_the_frontier(points: list[tuple[int, int]]) -> None:
    best = frontier([(float(cost), float(gain)) for cost, gain in points])
    for cost, gain in points:
        assert any(b_cost <= cost and b_gain >= gain for b_cost, b_gain in best)
    for cost, gain in best:
        beaten = [(c, g) for c, g in points if c <= cost and g >= gain and (c, g) != (cost, gain)]
        assert not beaten


def test_a_benchmark_without_baselines(tmp_path: Path) -> None:
    import dataclasses

    benchmark = dataclasses.replace(example_results.benchmark(tmp_path), ratios=())
    svg = latency_figure(benchmark, Models(Documents(benchmarks=[benchmark])), "speed")
    assert "vs " not in svg
    with pytest.raises(ET.ParseError):
        ET.fromstring(svg[:-10])  # the parser above would notice broken SVG
