"""How the operator library says that it cuts a layer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from blast_deploy.errors import InvalidInputError
from blast_deploy.native import Library
from blast_deploy.structures.blast import packing
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.blast.schedule import Schedule, ScheduleLimits, make_schedule
from blast_deploy.structures.contract import BLAST_LINEAR_PACKED

BEST = Library().instruction_sets()[0]


def schedule(rows: int, threads: int = 1, limits: ScheduleLimits | None = None) -> Schedule:
    return make_schedule(
        768,
        768,
        (4, 4),
        190,
        dtype="float32",
        rows=rows,
        threads=threads,
        limits=limits or ScheduleLimits(),
    )


def test_few_rows_and_many() -> None:
    assert schedule(1) == Schedule(True, 1, 1, 1, 1)
    assert schedule(210) == Schedule(False, 70, 3, 1, 1)
    assert schedule(16, threads=2).shares == 2


def test_limits_are_obeyed() -> None:
    assert schedule(210, limits=ScheduleLimits(largest_tile_rows=30)).tiles == 7
    never = ScheduleLimits(smallest_share_bytes=2**40, smallest_share_operations=2**40)
    assert schedule(16, threads=2, limits=never).shares == 1


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="must be at least 1"):
        schedule(1, limits=ScheduleLimits(largest_tile_rows=0))


def test_defaults_are_the_contracts() -> None:
    defaults = {item.name: item.default for item in BLAST_LINEAR_PACKED.attributes}
    for field in dataclasses.fields(ScheduleLimits):
        assert defaults[field.name] == str(field.default)


def test_results_do_not_depend_on_the_threads_that_a_layer_is_cut_for() -> None:
    random = np.random.default_rng(0)
    shapes = ((4, 192, 190), (4, 4, 190), (4, 190, 192))
    u, s, v = (random.standard_normal(shape, np.float32) for shape in shapes)
    packed = packing.pack(BlastMatrix(u, s, v, 768, 768))
    x = random.standard_normal((20, 768), np.float32)
    runs = [
        packing.linear(packed, 768, 768, (4, 4), 190, x, np.zeros(768, np.float32), BEST, threads)
        for threads in (1, 2, 3, 64)
    ]
    for run in runs[1:]:
        np.testing.assert_array_equal(run, runs[0])
