from __future__ import annotations

from blast_deploy.calibration.blast_case import make_case
from blast_deploy.calibration.case import BLAST_CASES, CASES
from blast_deploy.calibration.times import time_case
from blast_deploy.native import Library


def test_every_form_of_a_case_can_be_built_and_timed() -> None:
    case = make_case(1024, 768, 2, 0.1, 3)
    times = time_case(case, Library().instruction_sets()[-1], rounds=2)
    assert set(times) == {"kernel", "body", "dense"}
    assert all(time > 0 for time in times.values())


def test_copies_fill_more_than_a_cores_own_caches_and_not_the_memory() -> None:
    assert make_case(384, 384, 4, 0.5, 1).copies == 15
    assert make_case(64, 64, 8, 0.5, 1).copies == 32
    assert make_case(3072, 3072, 4, 0.5, 4096).copies == 1


def test_every_case_is_a_layer_that_can_be() -> None:
    assert len(set(CASES)) == len(CASES)
    assert all(case.rank >= 1 for case in BLAST_CASES)
