"""Limits of the kernel's schedule from a target's constants."""

from __future__ import annotations

from pathlib import Path

import msgspec
from portable_models import LayerSizes, forcing, random_layers, write_portable

import blast_deploy as bd
from blast_deploy.planning.schedule import WORTH_HANDING_OVER, limits_of
from blast_deploy.structures.blast.schedule import ScheduleLimits
from blast_deploy.targets import Costs, FormCosts, ScheduleCosts

FORM = FormCosts(call_microseconds=1.0, gigaflops=100.0, gigabytes_per_second=50.0)


def test_a_share_takes_its_handing_over_as_often_as_stated() -> None:
    schedule = ScheduleCosts(largest_tile_rows=56, handoff_microseconds=3.0)
    found = limits_of(Costs(origin="", body=FORM, dense=FORM, kernel=FORM, schedule=schedule))
    microseconds = WORTH_HANDING_OVER * 3
    assert found == ScheduleLimits(56, microseconds * 50_000, microseconds * 100_000)


def test_work_is_worth_handing_over_for_nothing() -> None:
    schedule = ScheduleCosts(largest_tile_rows=1, handoff_microseconds=0.0)
    found = limits_of(Costs(origin="", body=FORM, dense=FORM, kernel=FORM, schedule=schedule))
    assert found == ScheduleLimits(1, 1, 1)


def test_without_constants_the_librarys_own_limits_serve() -> None:
    schedule = ScheduleCosts(largest_tile_rows=56, handoff_microseconds=3.0)
    assert limits_of(Costs(origin="", body=FORM, dense=FORM, kernel=FORM)) == ScheduleLimits()
    assert limits_of(Costs(origin="", body=FORM, dense=FORM, schedule=schedule)) == ScheduleLimits()


def test_inspect_shows_how_a_kernel_is_cut(tmp_path: Path) -> None:
    target = forcing("kernel")
    schedule = ScheduleCosts(largest_tile_rows=16, handoff_microseconds=3.0)
    target = msgspec.structs.replace(target, costs=msgspec.structs.replace(target.costs, schedule=schedule))
    layers = random_layers((LayerSizes(37, 19, (3, 2), 5),))
    bd.compile(write_portable(tmp_path, layers), target, tmp_path / "artifact", shape="batch=1,sequence=1:64")
    (layer,) = bd.inspect(tmp_path / "artifact").layers
    assert layer.schedule == "1 row: few rows at once, one tile; 64 rows: blocks of rows, 4 tiles of 16"
