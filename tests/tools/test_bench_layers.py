"""The layer benchmark, but for its times: what it compares, how often it rotates, and what it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blast_deploy.results import MachinePeaks
from tools.bench_layers import __main__ as command
from tools.bench_layers.contenders import (
    NAMES,
    STRUCTURED,
    Caches,
    Name,
    Weights,
    copies_for,
    make,
    weight_bytes,
)
from tools.bench_layers.layers import LAYERS, ROWS, Layer, goal
from tools.bench_layers.measure import bandwidth_level, time_layer, time_scaling
from tools.bench_layers.results import Cell, Measurement, Scaling, goals_met, typical_ratio
from tools.bench_layers.roofline import draw
from tools.bench_layers.table import markdown

ODD = Layer(45, 37, (5, 3), 7)
MIB = 1 << 20
PEAKS = MachinePeaks(
    gigaflops={"x86-64-v4": 100.0, "x86-64": 30.0},
    gigabytes_per_second={"L1": 200.0, "L2": 100.0, "memory": 25.0},
    cache_bytes={"L1": 1 << 10, "L2": 1 << 12},
    cache_origin="system",
)


def measurement(name: Name, ratio: float, gflops: float = 50.0) -> Measurement:
    return Measurement(
        name, 10.0, gflops, gflops / 100, 20.0, 0.8, "memory", 8, 64 * MIB, ratio, (ratio, ratio), "faster"
    )


def cell(rows: int, caches: Caches, met: bool | None, ratio: float = 2.0) -> Cell:
    measured = tuple(measurement(name, 1.0 if name == "kernel" else ratio) for name in NAMES)
    return Cell("64x64 b4 r16, 50%", rows, caches, 0.5, 2.6, met, (), measured)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layer", [ODD, Layer(384, 64, (4, 4), 25), Layer(9, 600, (1, 2), 3)])
def test_every_contender_computes_the_same_layer(name: Name, layer: Layer) -> None:
    weights = Weights.draw(layer)
    contender = make(name, weights, 1)
    for rows in (1, 5):
        x = np.random.default_rng(rows).standard_normal((rows, layer.in_features), np.float32)
        expected = x.astype(np.float64) @ weights.matrix.dense().T
        np.testing.assert_allclose(contender.first(x), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("torch")])
def test_runs_take_one_group_of_layers_after_the_other(name: Name) -> None:
    contender = make(name, Weights.draw(ODD), 16)
    assert (contender.copies, contender.group) == (16, 8)
    call = contender.prepare(np.ones((2, ODD.in_features), np.float32))
    outputs = []
    for _ in range(4):
        _, y = call()  # type: ignore[misc]
        outputs.append(y.copy())
    assert not np.array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])
    np.testing.assert_array_equal(outputs[1], outputs[3])


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_cold_weights_of_every_contender_are_twice_the_last_cache(layer: Layer) -> None:
    for name in NAMES:
        assert copies_for(name, layer, "warm", 32 * MIB) == 1
        copies, own = copies_for(name, layer, "cold", 32 * MIB), weight_bytes(name, layer)
        assert copies * own >= 64 * MIB
        assert (copies - 8) * own < 64 * MIB
        assert copies < 8 or copies % 8 == 0
        kept = layer.kept if name in STRUCTURED else 1.0
        assert own == pytest.approx(4 * layer.out_features * layer.in_features * kept)


def test_layers_keep_what_the_issue_asks_for() -> None:
    for layer in LAYERS:
        assert abs(layer.kept - 0.5) < 0.03 or abs(layer.kept - 0.3) < 0.03, layer.name
    assert sum(layer.kept < 0.4 for layer in LAYERS) >= 4
    assert len({layer.name for layer in LAYERS}) == len(LAYERS)


def test_goals_are_those_of_the_issue() -> None:
    assert [round(goal(rows, 0.5), 2) for rows in ROWS] == [2.2, 2.6, 2.6, 2.0, 1.86, 1.86]
    assert goal(1, 0.3) == pytest.approx(1.1 / 0.3)


def test_weights_lie_in_the_smallest_cache_that_holds_them() -> None:
    assert bandwidth_level(1 << 10, "warm", PEAKS) == "L1"
    assert bandwidth_level((1 << 10) + 1, "warm", PEAKS) == "L2"
    assert bandwidth_level((1 << 12) + 1, "warm", PEAKS) == "memory"
    assert bandwidth_level(1, "cold", PEAKS) == "memory"


def test_figures_of_a_timed_layer_agree_with_each_other() -> None:
    names: tuple[Name, ...] = ("kernel", "dense twin", "ORT dense")
    cells = list(time_layer(ODD, (1, 3), ("warm", "cold"), names, 3, PEAKS))
    assert [(item.rows, item.caches) for item in cells] == [
        (1, "warm"),
        (3, "warm"),
        (1, "cold"),
        (3, "cold"),
    ]
    for item in cells:
        assert item.kept == pytest.approx(ODD.parameters / (45 * 37))
        kernel, dense = item.of("kernel"), item.of("ORT dense")
        assert kernel.ratio == 1.0
        assert kernel.gflops == pytest.approx(2e-3 * ODD.parameters * item.rows / kernel.median_us)
        assert dense.gflops == pytest.approx(2e-3 * 45 * 37 * item.rows / dense.median_us)
        assert dense.gigabytes_per_second == pytest.approx(4e-3 * 45 * 37 / dense.median_us)
        assert dense.peak_share == pytest.approx(dense.gflops / 100)
        assert dense.ratio_ci95[0] <= dense.ratio <= dense.ratio_ci95[1]
        if item.caches == "cold":
            assert min(kernel.rotated_bytes, dense.rotated_bytes) >= 2 << 12
            assert dense.bandwidth_share == pytest.approx(dense.gigabytes_per_second / 25)
        if item.met is not None:
            assert item.met == (dense.ratio >= item.goal)


def test_two_threads_are_compared_with_one() -> None:
    (found,) = time_scaling(Layer(64, 64, (4, 4), 8), (2,), ("kernel",), rounds=2)
    assert found.ratio == pytest.approx(found.one_thread_us / found.two_threads_us)
    assert found.judged == (found.load is not None and found.load < 0.2)


def test_goals_and_ratios_are_summed_up() -> None:
    cells = [cell(1, "warm", True, 2.0), cell(4, "warm", False, 8.0), cell(16, "warm", None)]
    assert goals_met(cells) == (1, 2)
    assert typical_ratio(cells[:2], "ORT dense") == pytest.approx(4.0)


def test_markdown_has_whole_tables_with_every_verdict() -> None:
    cells = [cell(1, "warm", True), cell(1, "cold", False), cell(16, "warm", None)]
    scalings = [Scaling("64x64 b4 r16, 50%", 64, "kernel", 20.0, 11.0, 20 / 11, 50, 0.3, False)]
    text = markdown(cells, scalings, {"processor": "a processor"}, PEAKS)
    assert "a processor" in text
    assert "100 GFLOP/s of multiply-adds (x86-64-v4)" in text
    assert "| 50% | 1 | warm | 2.00 | 2.00 | 2.00 | 2.00 | 2.00 | 1 of 1 |" in text
    for verdict in ("met", "missed", "unjudged"):
        assert f"| 2.60 | {verdict} |" in text
    assert "50 (50%), 20.0 GB/s (80% of memory)" in text
    assert "| kernel | 20.0 | 11.0 | 1.82 | 0.30 | unjudged |" in text
    columns = None
    for line in text.splitlines():
        if not line.startswith("|"):
            columns = None
            continue
        assert columns in (None, line.count("|")), line
        columns = line.count("|")


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_roofline_names_every_contender_and_roof(suffix: str, tmp_path: Path) -> None:
    path = (tmp_path / "roofline").with_suffix(suffix)
    draw([cell(1, "warm", True), cell(16, "cold", True)], PEAKS, path, "a processor")
    if suffix == ".png":
        assert path.read_bytes().startswith(b"\x89PNG")
        return
    text = path.read_text()
    for words in (*NAMES, "a processor", "100 GFLOP/s", "L2 100 GB/s", "memory 25 GB/s"):
        assert words in text, words


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--layers", "nonsense"], "no layer has 'nonsense' in its name"),
        (["--contenders", "kernel"], "must include ORT dense"),
    ],
)
def test_what_cannot_be_timed_is_refused(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["bench_layers", "--output", str(tmp_path), *arguments])
    with pytest.raises(SystemExit) as refusal:
        command.main()
    assert sentence in f"{refusal.value} {capsys.readouterr().err}"
