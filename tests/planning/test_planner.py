from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blast_deploy.errors import InvalidInputError
from blast_deploy.planning import planner
from blast_deploy.planning.cost import microseconds, spread, typical_microseconds
from blast_deploy.planning.layer import LinearLayer, blast_layer
from blast_deploy.planning.planner import plan
from blast_deploy.results import Rejected
from blast_deploy.targets import Costs, FormCosts, Target, load_target

LAYER = blast_layer(
    "encoder.query", dtype="float32", out_features=384, in_features=384, blocks=(4, 4), rank=94
)
WIDE = blast_layer("wide", dtype="float32", out_features=64, in_features=64, blocks=(4, 4), rank=60)


def target(kernel: float, body: float, dense: float, name: str = "cpu-native") -> Target:
    """A target whose forms differ only in their rate of arithmetic."""
    rates = [
        FormCosts(call_microseconds=1.0, gigaflops=rate, gigabytes_per_second=1e6)
        for rate in (kernel, body, dense)
    ]
    costs = Costs(origin="made up for this test", kernel=rates[0], body=rates[1], dense=rates[2])
    return msgspec.structs.replace(load_target(name), costs=costs)


def test_the_time_of_a_hand_worked_case() -> None:
    layer = blast_layer("l", dtype="float32", out_features=8, in_features=4, blocks=(2, 2), rank=3)
    costs = Costs(
        origin="",
        body=FormCosts(call_microseconds=5.0, gigaflops=0.001, gigabytes_per_second=0.001),
        dense=FormCosts(call_microseconds=2.0, gigaflops=0.002, gigabytes_per_second=0.004),
    )
    # Dense: 2 * 8 * 4 * 10 operations at 2 a microsecond, longer than 32 weights of 4 bytes at 4; 80 outputs
    # twice, 4 bytes each, at 4.
    assert microseconds("dense", layer, 10, costs) == pytest.approx(2 + 320 + 160)
    # Body: r (m + n + b1 b2) = 48 parameters, and 10 rows cost as much as 16; 4 + 3 * (2 + 2) + 3 * 8 = 40
    # values a row, there and back.
    assert microseconds("body", layer, 10, costs) == pytest.approx(5 + 2 * 48 * 16 + 4 * 2 * 40 * 10)
    with pytest.raises(KeyError):
        microseconds("kernel", layer, 10, costs)


def test_an_element_type_half_as_wide_moves_half_the_bytes() -> None:
    narrow = blast_layer("l", dtype="float16", out_features=8, in_features=4, blocks=(2, 2), rank=3)
    wide = blast_layer("l", dtype="float32", out_features=8, in_features=4, blocks=(2, 2), rank=3)
    slow = FormCosts(call_microseconds=1e-9, gigaflops=1e9, gigabytes_per_second=0.001)
    costs = Costs(origin="", body=slow, dense=slow)
    assert microseconds("body", wide, 7, costs) == pytest.approx(2 * microseconds("body", narrow, 7, costs))


def test_doubles_are_calculated_at_half_the_rate_of_floats() -> None:
    wide = blast_layer("l", dtype="float64", out_features=8, in_features=4, blocks=(2, 2), rank=3)
    single = blast_layer("l", dtype="float32", out_features=8, in_features=4, blocks=(2, 2), rank=3)
    slow = FormCosts(call_microseconds=1e-9, gigaflops=0.001, gigabytes_per_second=1e9)
    costs = Costs(origin="", body=slow, dense=slow)
    assert microseconds("body", wide, 7, costs) == pytest.approx(2 * microseconds("body", single, 7, costs))


@given(st.integers(1, 5000), st.integers(0, 5000))
def test_a_range_is_stood_for_by_its_ends_and_what_lies_between(fewest: int, extra: int) -> None:
    points = spread((fewest, fewest + extra))
    assert points[0] == fewest
    assert points[-1] == fewest + extra
    assert points == sorted(set(points))
    assert all(later <= 2 * earlier for earlier, later in itertools.pairwise(points))


def test_the_typical_time_lies_between_the_ends() -> None:
    costs = load_target("cpu-native").costs
    for form in ("kernel", "body", "dense"):
        ends = [microseconds(form, LAYER, rows, costs) for rows in (1, 512)]
        assert ends[0] < typical_microseconds(form, LAYER, (1, 512), costs) < ends[1]


@pytest.mark.parametrize(
    ("rates", "form"),
    [((100.0, 10.0, 10.0), "kernel"), ((1.0, 100.0, 10.0), "body"), ((1.0, 1.0, 100.0), "dense")],
)
def test_the_fastest_form_is_chosen(rates: tuple[float, float, float], form: str) -> None:
    (layer,) = plan([LAYER], target(*rates), {LAYER.name: (128, 128)}).layers
    assert layer.form == form
    assert {each.form for each in layer.accepted} == {"kernel", "body", "dense"}
    assert min(layer.accepted, key=lambda each: each.microseconds).form == form
    assert layer.reason.startswith(f"{form} ")
    assert "128 rows" in layer.reason


@pytest.mark.parametrize(("rate", "written"), [(100.0, "2.49 us"), (0.01, "14.9 ms")])
def test_the_reason_gives_times_in_a_unit_that_can_be_read(rate: float, written: str) -> None:
    (layer,) = plan([LAYER], target(rate, 1e-3, 1e-3), {LAYER.name: (1, 1)}).layers
    # 384 * 94 + 384 * 96 + 16 * 96 padded parameters, two operations for each, a microsecond for the call.
    assert layer.reason.startswith(f"kernel {written}, against body 2.36e+03 ms")
    assert "for 1 row," in layer.reason


def test_structure_that_saves_nothing_runs_dense() -> None:
    assert WIDE.work["kernel"].weights > 64 * 64
    chosen = plan([LAYER, WIDE], target(50.0, 40.0, 50.0), {LAYER.name: (64, 64), WIDE.name: (64, 64)})
    assert [layer.form for layer in chosen.layers] == ["kernel", "dense"]


def test_the_stock_target_rejects_the_kernel_with_the_reason() -> None:
    (layer,) = plan([LAYER], load_target("cpu-stock"), {LAYER.name: (1, 128)}).layers
    assert [each.form for each in layer.rejected] == ["kernel"]
    assert "without the operator library" in layer.rejected[0].reason
    assert "without the operator library" in layer.reason
    assert layer.form in ("body", "dense")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_no_form_is_rejected_for_what_the_runtime_computes(dtype: str) -> None:
    layer = blast_layer("l", dtype=dtype, out_features=64, in_features=64, blocks=(4, 4), rank=8)
    (planned,) = plan([layer], load_target("cpu-native"), {"l": (1, 128)}).layers
    assert planned.rejected == ()


def test_bfloat16_runs_in_the_kernel_or_not_at_all() -> None:
    layer = blast_layer("l", dtype="bfloat16", out_features=64, in_features=64, blocks=(4, 4), rank=8)
    (planned,) = plan([layer], load_target("cpu-native"), {"l": (1, 128)}).layers
    reason = "ONNX Runtime has no bfloat16 MatMul on the CPU"
    assert planned.form == "kernel"
    assert planned.rejected == (Rejected("body", reason), Rejected("dense", reason))
    with pytest.raises(InvalidInputError, match=r"l cannot run on target cpu-stock.*no bfloat16 MatMul"):
        plan([layer], load_target("cpu-stock"), {"l": (1, 128)})


def test_rows_of_the_plan_span_those_of_its_layers() -> None:
    chosen = plan([LAYER, WIDE], load_target("cpu-native"), {LAYER.name: (16, 1024), WIDE.name: (1, 8)})
    assert chosen.rows == (1, 1024)
    assert chosen.target == "cpu-native"


def test_a_dense_model_has_an_empty_plan() -> None:
    chosen = plan([], load_target("cpu-native"), {})
    assert chosen.layers == ()
    assert chosen.rows == (0, 0)


def test_a_layer_that_no_form_can_compute_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        def rejected_forms(self, target: Target, layer: LinearLayer) -> tuple[Rejected, ...]:
            return tuple(Rejected(form, "out of order") for form in planner.FORMS)

    monkeypatch.setattr(planner, "load_backend", lambda name: Nothing())
    with pytest.raises(InvalidInputError, match=r"encoder\.query.*cpu-native.*out of order"):
        plan([LAYER], load_target("cpu-native"), {LAYER.name: (1, 1)})
