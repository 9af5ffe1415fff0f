"""The page: complete, escaped, self-contained, and written whole or not at all."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import example_results
import pytest

from blast_deploy.errors import InvalidInputError, MissingExtraError, OutputExistsError
from blast_deploy.reporting.report import report
from blast_deploy.results import to_json

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Checks that every element is closed, and collects text, links and elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name.split(":")[-1] in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name.split(":")[-1] in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def written(tmp_path: Path) -> tuple[str, Page]:
    result = report(example_results.write_all(tmp_path), tmp_path / "out" / "report.html")
    assert result.bytes == result.path.stat().st_size
    html = result.path.read_text()
    return html, Page(html)


def test_every_part_is_there(tmp_path: Path) -> None:
    _, page = written(tmp_path)
    for expected in (
        "2.50×",
        "2.40 to 2.60",
        "mean cosine",
        "0.852",
        "50.0%",
        "1.2e-06",
        "not a number",
        "BlastLinearPacked",
        "1 of 1 output within the bounds. the runtime ran 1 layer",
        "90.0 MB",
        "other work took 0.25 CPUs",
        "On 500 pairs.",
        "quickest",
        "2 x 3 blocks, rank 2",
    ):
        assert expected in page.text, expected
    assert page.tags.count("svg") == 2


def test_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    html, page = written(tmp_path)
    assert "script" not in page.tags
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"@import|@font-face|url\((?!#)", html)


def test_text_is_escaped(tmp_path: Path) -> None:
    html, page = written(tmp_path)
    assert "<b>fast</b>" not in html
    assert "a <b>fast</b> one & more" in page.text
    assert "layer.0 is <wrong>" in page.text
    assert "y<1>" in page.text


def test_hostile_names_stay_text_in_figures_too(tmp_path: Path) -> None:
    name = 'x"><script>alert(1)<'
    benchmark = example_results.benchmark(tmp_path)
    text = to_json(benchmark).decode().replace("dense.onnx", name.replace('"', '\\"'))
    path = tmp_path / "bench.json"
    path.write_text(text)
    html = report([path], tmp_path / "r.html").path.read_text()
    assert "<script" not in html
    assert name in Page(html).text


def test_timings_that_were_not_judged_say_so(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_bytes(to_json(example_results.benchmark(tmp_path, reasons=("other work took 2 CPUs",))))
    page = Page(report([path], tmp_path / "r.html").path.read_text())
    assert "Not judged: other work took 2 CPUs" in page.text


@pytest.mark.parametrize("name", ["bench", "verify", "quality", "compress", "inspect", "artifact"])
def test_any_one_alone_makes_a_page(tmp_path: Path, name: str) -> None:
    paths = {path.stem: path for path in example_results.write_all(tmp_path)}
    page = Page(report([paths[name]], tmp_path / "r.html").path.read_text())
    assert "Deployment report" in page.text


def test_an_existing_page_is_kept_without_force(tmp_path: Path) -> None:
    paths, output = example_results.write_all(tmp_path), tmp_path / "r.html"
    output.write_text("mine")
    with pytest.raises(OutputExistsError, match=r"r\.html exists"):
        report(paths, output)
    assert output.read_text() == "mine"
    assert report(paths, output, force=True).bytes > 1000
    with pytest.raises(OutputExistsError):
        report(paths, tmp_path / "artifact", force=True)


def test_bad_input_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        report([tmp_path / "nothing.json"], tmp_path / "out" / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    paths = example_results.write_all(tmp_path)
    with pytest.raises(InvalidInputError, match="cannot be written"):
        report(paths, paths[1] / "r.html")  # its folder is a file


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    paths = example_results.write_all(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed.*blast-deploy\[report\]"):
        report(paths, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()
