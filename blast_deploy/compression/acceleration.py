"""Nesterov's extrapolation of an alternating minimisation, restarted when the error rises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

State = tuple[Tensor, ...]
"""All variables of a minimisation; sweeps overwrite them, so that no memory is allocated anew."""


def minimise(
    sweep: Callable[[State], float],
    start: State,
    sweeps: int,
    on_sweep: Callable[[], None] | None = None,
) -> State:
    """Run sweeps from extrapolated states and give the best state that was found.

    A sweep that raises the error is dropped, and the next one starts from the best state without momentum
    (O'Donoghue and Candès, arXiv 1204.3982). If that raises the error too, rounding has the upper hand and
    the work is done.

    Args:
        sweep: Minimises over each variable in turn, overwriting it, and gives the objective at the end.
        start: Where the first sweep starts; it is overwritten.
        sweeps: How many are run at most, at least 1.
        on_sweep: Called after each; what it raises ends the work.
    """
    best, error = start, sweep(start)
    trial, previous = _copied(start), _copied(start)
    age = 1
    for _ in range(sweeps - 1):
        if on_sweep is not None:
            on_sweep()
        momentum = max(age - 1, 0) / (age + 2)
        for before, now, extrapolated in zip(previous, best, trial, strict=True):
            torch.lerp(before, now, 1 + momentum, out=extrapolated)
        trial_error = sweep(trial)
        if trial_error <= error:
            previous, best, trial = best, trial, previous
            error, age = trial_error, age + 1
        elif momentum > 0:
            age = 0
        else:
            break
    return best


def _copied(state: State) -> State:
    return tuple(variable.clone() for variable in state)
