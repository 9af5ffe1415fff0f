"""Times random layers that no constant was fitted to, and says how often the planner picks the fastest form.

Writes the times as CSV for tests/planning/test_choices.py, which holds the planner to them.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Mapping
from pathlib import Path

from blast_deploy.calibration.blast_case import BlastCase, make_case
from blast_deploy.calibration.case import BLAST_CASES
from blast_deploy.calibration.times import time_case
from blast_deploy.native import Library
from blast_deploy.planning.cost import microseconds
from blast_deploy.results import Form
from blast_deploy.targets import Target, load_target

SIZES = (64, 96, 160, 256, 320, 512, 640, 768, 1000, 1152, 1536, 2048)
BLOCKS = (1, 2, 3, 4, 8, 16)
KEPT = (0.1, 0.25, 0.3, 0.5, 0.7, 0.9)
ROWS = (1, 1, 2, 3, 5, 6, 12, 24, 48, 100, 197, 400)
CHOSEN = (
    make_case(768, 768, 4, 0.9, 1),
    make_case(768, 768, 4, 0.9, 100),
    make_case(64, 64, 8, 0.5, 1),
    make_case(64, 64, 16, 0.5, 50),
    make_case(320, 320, 2, 0.9, 12),
)
"""Where dense may be faster: nearly all parameters kept, and tiny layers of many blocks."""


def cases(count: int, seed: int) -> list[BlastCase]:
    """The chosen cases and random ones, none of which is fitted to."""
    draw = random.Random(seed)
    found = list(CHOSEN)
    while len(found) < count:
        sizes = draw.choice(SIZES), draw.choice(SIZES)
        case = make_case(*sizes, draw.choice(BLOCKS), draw.choice(KEPT), draw.choice(ROWS))
        if case.rank >= 1 and case not in BLAST_CASES:
            found.append(case)
    return found


def judge(case: BlastCase, times: Mapping[Form, float], target: Target) -> float:
    """Measured time of the form that is modelled fastest, over that of the fastest."""
    modelled = {form: microseconds(form, case.layer, case.rows, target.costs) for form in BlastCase.timed}
    return times[min(modelled, key=lambda form: modelled[form])] / min(times.values())


def main() -> None:
    """Measure, write and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--target", default="cpu-native")
    parser.add_argument("--instruction-set", default=Library().instruction_sets()[0])
    parser.add_argument("--count", type=int, default=45)
    parser.add_argument("--seed", type=int, default=11)
    arguments = parser.parse_args()
    target, losses = load_target(arguments.target), []
    with arguments.output.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["out_features", "in_features", "blocks", "rank", "rows", *BlastCase.timed])
        for case in cases(arguments.count, arguments.seed):
            times = time_case(case, arguments.instruction_set, rounds=7)
            sizes = (case.out_features, case.in_features, case.blocks, case.rank, case.rows)
            writer.writerow([*sizes, *(f"{times[form]:.4g}" for form in BlastCase.timed)])
            losses.append(judge(case, times, target))
            described = (f"{form} {times[form]:.4g} us" for form in BlastCase.timed)
            print(*sizes, *described, f"{losses[-1]:.2f}", flush=True)
    good = sum(loss <= 1.1 for loss in losses)
    print(f"the form chosen is the fastest, or within 10% of it, in {good} of {len(losses)} cases")


if __name__ == "__main__":
    main()
