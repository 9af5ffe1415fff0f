"""The planner against times that were measured, by tools/measure_choices.py on an AMD EPYC (Zen 4)."""

from __future__ import annotations

import csv
from pathlib import Path

from blast_deploy.planning.layer import LinearLayer, blast_layer
from blast_deploy.planning.planner import plan
from blast_deploy.results import Form
from blast_deploy.targets import load_target

MEASURED = Path(__file__).with_name("measured_times.csv")
"""Microseconds with AVX-512 kernels, in layers and rows to which no constant was fitted."""


def measured() -> list[tuple[LinearLayer, int, dict[Form, float]]]:
    with MEASURED.open() as file:
        return [
            (
                blast_layer(
                    "layer",
                    dtype="float32",
                    out_features=int(row["out_features"]),
                    in_features=int(row["in_features"]),
                    blocks=(int(row["blocks"]), int(row["blocks"])),
                    rank=int(row["rank"]),
                ),
                int(row["rows"]),
                {"kernel": float(row["kernel"]), "body": float(row["body"]), "dense": float(row["dense"])},
            )
            for row in csv.DictReader(file)
        ]


def losses() -> list[tuple[Form, Form, float]]:
    """Of each case the chosen form, the fastest, and how much longer the chosen one takes."""
    target = load_target("cpu-x86-64-v4")
    found = []
    for layer, rows, times in measured():
        (planned,) = plan([layer], target, {layer.name: (rows, rows)}).layers
        fastest = min(times, key=lambda form: times[form])
        found.append((planned.form, fastest, times[planned.form] / times[fastest]))
    return found


def test_the_form_chosen_is_nearly_always_the_fastest_or_within_a_tenth_of_it() -> None:
    found = losses()
    assert len(found) >= 40
    assert sum(loss <= 1.1 for _, _, loss in found) >= 0.9 * len(found), found


def test_dense_is_chosen_where_it_is_clearly_faster() -> None:
    where_dense = [chosen for chosen, fastest, loss in losses() if fastest == "dense"]
    assert len(where_dense) >= 8
    assert where_dense.count("dense") >= 0.8 * len(where_dense)
    assert any(chosen == "kernel" for chosen, _, _ in losses())
