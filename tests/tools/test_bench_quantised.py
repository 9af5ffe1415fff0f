"""The benchmark of quantised layers, but for its times: what it compares, and what it says of goals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tools.bench_layers.contenders import Weights
from tools.bench_layers.layers import Layer
from tools.bench_quantised.__main__ import TOLERANCES, USUAL_TOLERANCE
from tools.bench_quantised.contenders import NAMES, Name, check, copies_for, make, weight_bytes
from tools.bench_quantised.goals import LAYERS, goals
from tools.bench_quantised.results import Cell, Ratio, markdown

ODD = Layer(45, 100, (5, 3), 37)
MIB = 1 << 20


@pytest.mark.parametrize("name", NAMES)
def test_every_contender_computes_the_same_layer(name: Name) -> None:
    weights = Weights.draw(ODD)
    contender = make(name, weights, 1)
    error = check(contender, weights, TOLERANCES.get(name, USUAL_TOLERANCE))
    assert error < (1e-5 if "fp32" in name else 0.02 if "8" in name else 0.2)
    other = dataclasses.replace(contender, first=lambda x: np.zeros((len(x), ODD.out_features)))
    with pytest.raises(ValueError, match=r"errs by 1\.000 on"):
        check(other, weights, USUAL_TOLERANCE)


@pytest.mark.parametrize("name", ["int8 BLAST", "int4 twin", "ORT dynamic int8"])
def test_sessions_hold_groups_of_layers(name: Name) -> None:
    contender = make(name, Weights.draw(ODD), 16)
    assert (contender.copies, contender.group) == (16, 8)
    assert len(contender.first(np.ones((2, 100), np.float32))) == 2


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_cold_weights_of_every_contender_are_twice_the_last_cache(layer: Layer) -> None:
    for name in NAMES:
        assert copies_for(name, layer, "warm", 32 * MIB) == 1
        copies, own = copies_for(name, layer, "cold", 32 * MIB), weight_bytes(name, layer)
        assert (copies - 8) * own < 64 * MIB <= copies * own


@pytest.mark.parametrize(
    ("median", "doubts", "word"), [(1.9, (), "met"), (1.1, (), "missed"), (1.9, ("load",), "unjudged")]
)
def test_goals_are_judged_by_the_median(median: float, doubts: tuple[str, ...], word: str) -> None:
    (goal,) = goals(128)
    ratio = Ratio(goal.ours, goal.other, median, (1.0, 2.0))
    cell = Cell("64x64", 128, "warm", {goal.ours: 1.0}, {goal.ours: 0.01}, (ratio,), (goal,), doubts)
    assert f"| 64x64 | 128 | int8 BLAST 1.2x ORT dynamic int8 | {median:.2f} | {word} |" in markdown(
        [cell], {}
    )
