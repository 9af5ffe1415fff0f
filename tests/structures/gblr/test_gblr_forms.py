"""The work of each form, worked by hand, and what the planner makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from gblr_models import learned
from portable_models import forcing

from blast_deploy.planning.cost import microseconds
from blast_deploy.planning.layer import LinearLayer, gblr_layer
from blast_deploy.planning.planner import plan_layer
from blast_deploy.structures.blast.forms import FormWork
from blast_deploy.structures.gblr.forms import describe, kernel_padding, work
from blast_deploy.structures.gblr.matrix import GblrMatrix
from blast_deploy.targets import load_target


def described(matrix: GblrMatrix) -> LinearLayer:
    return gblr_layer(
        "layer",
        dtype="float32",
        out_features=matrix.out_features,
        in_features=matrix.in_features,
        components=matrix.components,
        values=(len(matrix.u.values), len(matrix.v.values)),
    )


def test_by_hand() -> None:
    # 10 x 8, 3 components of 12 left and 9 right values in all
    assert work("dense", 10, 8, 3, (12, 9)) == FormWork(80, 160, 10)
    # 18 values of X and Y to be turned, each as long as ten operations
    assert work("kernel", 10, 8, 3, (12, 9), 7) == FormWork(21, 42 + 180, 10, 8, single_rows=3, padding=7)
    # written out 3 x 18; z 3, the product 10 and with the bias 10 again
    assert work("body", 10, 8, 3, (12, 9)) == FormWork(54, 108, 23, products=2)
    assert work("body", 10, 8, 0, (0, 0)) == FormWork(18, 36, 21, products=2)


def test_padding_of_the_kernel_by_hand() -> None:
    # Of 10 entries, tiles are 0-7 and 8-9: [3, 5) touches one, [9, 1) two, [4, 8) one, and the last all.
    starts, widths = np.array([3, 9, 4, 2]), np.array([2, 2, 4, 10])
    assert kernel_padding(starts, widths, 10) == 8 + 16 + 8 + 16 - 18


def test_in_words() -> None:
    assert describe(10, 8, 3, (12, 9)) == "3 components on 39% of their axes"
    assert describe(10, 8, 1, (10, 8)) == "1 component on 100% of their axes"
    assert describe(10, 8, 0, (0, 0)) == "no components"


def test_the_body_costs_two_dense_products() -> None:
    costs = load_target("cpu-stock").costs
    # As many weights and operations as the dense layer: what differs is a call, and 96 values for each row.
    layer = gblr_layer("x", dtype="float32", out_features=64, in_features=64, components=32, values=(40, 40))
    difference = microseconds("body", layer, 16, costs) - microseconds("dense", layer, 16, costs)
    rate = costs.dense.values_gigabytes_per_second
    assert rate is not None
    assert difference == pytest.approx(costs.dense.call_microseconds + 2 * 4 * 96 * 16 / (1e3 * rate))


@pytest.mark.parametrize(("name", "form"), [("query_50", "body"), ("output_50", "body")])
def test_learned_structures_run_as_low_rank_where_there_is_no_kernel(name: str, form: str) -> None:
    """130 of 384 components live, and 170: two products are 0.68 and 0.55 of the dense one."""
    planned = plan_layer(described(learned(name)), load_target("cpu-stock"), (128, 128))
    assert planned.form == form
    assert planned.rejected[0].form == "kernel"


def test_many_narrow_components_run_dense_where_there_is_no_kernel() -> None:
    layer = gblr_layer(
        "x", dtype="float32", out_features=384, in_features=384, components=384, values=(9999, 9999)
    )
    assert plan_layer(layer, load_target("cpu-stock"), (1, 128)).form == "dense"
    assert plan_layer(layer, load_target("cpu-native"), (1, 128)).form == "kernel"
    assert plan_layer(layer, forcing("dense"), (1, 128)).form == "dense"
