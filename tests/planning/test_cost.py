"""Properties of the time model; cases worked by hand are in test_planner.py."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blast_deploy.planning.cost import microseconds
from blast_deploy.planning.layer import LinearLayer, blast_layer, gblr_layer
from blast_deploy.planning.planner import plan, uncached_forms
from blast_deploy.results import Form
from blast_deploy.targets import Costs, FormCosts, MemoryCosts, load_target, target_names

FORMS: tuple[Form, ...] = ("kernel", "body", "dense")
MEMORY = MemoryCosts(last_cache_bytes=1 << 20, cache_gigabytes_per_second=80.0, gigabytes_per_second=20.0)

sizes = st.integers(1, 5000)
layers = st.builds(
    lambda m, n, b1, b2, rank, dtype: blast_layer(
        "l", dtype=dtype, out_features=m, in_features=n, blocks=(min(b1, m), min(b2, n)), rank=rank
    ),
    sizes,
    sizes,
    st.integers(1, 32),
    st.integers(1, 32),
    st.integers(1, 2000),
    st.sampled_from(["float16", "float32", "float64"]),
)


@pytest.mark.parametrize("name", target_names())
@given(layer=layers, rows=st.integers(1, 10**6), more=st.integers(0, 10**6))
def test_times_are_positive_finite_and_never_fall_with_rows(
    name: str, layer: LinearLayer, rows: int, more: int
) -> None:
    costs = load_target(name).costs
    for form in FORMS:
        if getattr(costs, form) is None:
            continue
        times = [
            microseconds(form, layer, count, costs, from_memory=far)
            for far in (False, True)
            for count in (rows, rows + more)
        ]
        assert all(math.isfinite(time) and time > 0 for time in times)
        assert times[0] <= times[1]
        assert times[2] <= times[3]
        assert times[0] <= times[2]


def costs(**changes: float) -> Costs:
    same = FormCosts(call_microseconds=1.0, gigaflops=100.0, gigabytes_per_second=50.0, **changes)
    return Costs(origin="made up", kernel=same, body=same, dense=same, memory=MEMORY)


LAYER = blast_layer("l", dtype="float32", out_features=512, in_features=512, blocks=(4, 4), rank=64)


def test_few_rows_cost_what_reading_costs_and_many_what_arithmetic_costs() -> None:
    made = costs(values_gigabytes_per_second=1e9)
    reading = 4 * 512 * 512 / 50e3
    assert microseconds("dense", LAYER, 1, made) == pytest.approx(1 + reading, rel=1e-3)
    assert microseconds("dense", LAYER, 3, made) == pytest.approx(1 + reading, rel=1e-3)
    assert microseconds("dense", LAYER, 300, made) == pytest.approx(1 + 600 * 512 * 512 / 100e3, rel=1e-3)


def test_the_body_computes_rows_by_sixteen() -> None:
    made = costs(values_gigabytes_per_second=1e9)
    one, sixteen, next_one = (microseconds("body", LAYER, rows, made) for rows in (1, 16, 17))
    assert one == pytest.approx(sixteen, rel=1e-3)
    assert next_one > 1.7 * sixteen


def test_each_block_costs_for_each_row() -> None:
    free, dear = costs(), costs(block_nanoseconds=10.0)
    for rows in (1, 100):
        added = microseconds("kernel", LAYER, rows, dear) - microseconds("kernel", LAYER, rows, free)
        assert added == pytest.approx(8 * rows * 0.01)


def test_weights_from_memory_come_later_by_the_difference_of_the_rates() -> None:
    near, far = (microseconds("dense", LAYER, 16, costs(), from_memory=each) for each in (False, True))
    assert far - near == pytest.approx(4 * 512 * 512 / 20e3 - 4 * 512 * 512 / 80e3)
    nowhere = msgspec.structs.replace(costs(), memory=None)
    assert microseconds("dense", LAYER, 16, nowhere, from_memory=True) == near


def test_a_model_that_fills_the_cache_in_one_form_only_is_planned_so() -> None:
    """Two dense weights of 1 MiB leave the cache of 1 MiB; as factors of 0.26 MiB each they stay."""
    target = msgspec.structs.replace(load_target("cpu-native"), costs=costs())
    other = blast_layer("m", dtype="float32", out_features=512, in_features=512, blocks=(4, 4), rank=64)
    both = [LAYER, other]
    assert uncached_forms(both, target) == {"dense"}
    (first, _) = plan(both, target, {"l": (1, 1), "m": (1, 1)}).layers
    times = {each.form: each.microseconds for each in first.accepted}
    assert times["dense"] == pytest.approx(
        microseconds("dense", LAYER, 1, costs(), from_memory=True), abs=1e-3
    )
    assert times["kernel"] == pytest.approx(microseconds("kernel", LAYER, 1, costs()), abs=1e-3)
    assert uncached_forms(both[:0], target) == frozenset()


def test_gblr_rows_come_one_by_one_and_then_by_eight() -> None:
    made = costs(values_gigabytes_per_second=1e9)
    layer = gblr_layer(
        "l", dtype="float32", out_features=512, in_features=512, components=600, values=(75_000, 75_000)
    )
    three, four, eight, nine = (microseconds("kernel", layer, rows, made) for rows in (3, 4, 8, 9))
    assert three < 0.6 * four
    assert four == pytest.approx(eight, rel=1e-3)
    assert nine > 1.7 * eight


def test_the_kernels_of_other_structures_have_constants_of_their_own() -> None:
    slow, quick = (FormCosts(call, 100.0, 50.0) for call in (90.0, 1.0))
    made = msgspec.structs.replace(costs(), quantized_kernel=slow, gblr_kernel=quick)
    assert made.of("kernel", "QBlastLinear") == slow
    assert made.of("kernel", "GblrLinear") == quick
    assert made.of("kernel", "BlastLinear") == made.kernel
    assert made.of("dequantised", "QBlastLinear") == made.kernel
    assert made.of("body", "GblrLinear") == made.body


def test_kernels_without_constants_of_their_own_take_those_of_the_first() -> None:
    assert costs().of("kernel", "GblrLinear") == costs().kernel
    without = msgspec.structs.replace(costs(), kernel=None, gblr_kernel=costs().dense)
    assert without.of("kernel", "GblrLinear") is None
