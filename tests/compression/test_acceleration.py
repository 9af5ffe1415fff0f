from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from blast_deploy.compression.acceleration import Descent, State

HESSIAN = torch.diag(torch.tensor([1.0, 0.1, 0.01], dtype=torch.float64))


def descend(state: State) -> float:
    """One gradient step of length 1 on ``x^T H x / 2``."""
    (x,) = state
    x -= HESSIAN @ x
    return float(x @ HESSIAN @ x) / 2


def start() -> State:
    return (torch.ones(3, dtype=torch.float64),)


def minimise(sweep: Callable[[State], float], first: State, sweeps: int) -> State:
    return Descent(sweep, first).run(sweeps - 1).best


def test_one_sweep_is_the_sweep_itself() -> None:
    expected = start()
    descend(expected)
    assert torch.equal(minimise(descend, start(), 1)[0], expected[0])


def test_runs_go_on_where_the_last_one_ended() -> None:
    parts = Descent(descend, start()).run(7).run(12)
    whole = Descent(descend, start()).run(19)
    assert parts.error == whole.error
    assert torch.equal(parts.best[0], whole.best[0])


def test_momentum_beats_plain_descent() -> None:
    plain = start()
    for _ in range(100):
        plain_error = descend(plain)
    (x,) = minimise(descend, start(), 100)
    assert float(x @ HESSIAN @ x) / 2 < plain_error / 10


def test_more_sweeps_never_end_worse() -> None:
    def error(sweeps: int) -> float:
        (x,) = minimise(descend, start(), sweeps)
        return float(x @ HESSIAN @ x)

    errors = [error(sweeps) for sweeps in range(1, 60)]
    assert all(later <= earlier for earlier, later in pairwise(errors))


def test_a_rise_is_dropped_and_restarted_without_momentum() -> None:
    seen: list[float] = []

    def sweep(state: State) -> float:
        (x,) = state
        seen.append(float(x[0]))
        x += 1
        return 100.0 if len(seen) == 4 else 10.0 - len(seen)

    (x,) = minimise(sweep, (torch.zeros(1),), 6)
    # 0 -> 1; 1 -> 2; from 2 with momentum 1/4 (2.25) -> 3.25; the fourth, with momentum 2/5, is dropped.
    assert seen[:3] == [0.0, 1.0, 2.25]
    assert seen[3] == pytest.approx(3.25 + 0.4 * 1.25)
    assert seen[4] == 3.25
    assert seen[5] == 4.25
    assert float(x[0]) == 5.25


def test_it_ends_when_rounding_rules() -> None:
    calls = 0

    def sweep(state: State) -> float:
        nonlocal calls
        calls += 1
        return float(calls)

    minimise(sweep, (torch.zeros(1),), 1000)
    assert calls == 2


def test_what_the_callback_raises_ends_the_work() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Descent(descend, start()).run(5, stop)
