"""Nesterov's extrapolation of an alternating minimisation, restarted when the error rises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

State = tuple[Tensor, ...]
"""All variables of a minimisation; sweeps overwrite them, so that no memory is allocated anew."""
Sweep = Callable[[State], float]
"""Minimises over each variable in turn, overwriting it, and gives the objective at the end."""


class Descent:
    """A minimisation under way: the best state so far, and the momentum that led there.

    A sweep from an extrapolated state that raises the error is dropped, and the next one starts from the best
    state without momentum (O'Donoghue and Candès, arXiv 1204.3982). If that raises the error too, rounding
    has the upper hand and the descent is over.

    Attributes:
        best: The best state.
        error: The objective there.
    """

    def __init__(self, sweep: Sweep, start: State) -> None:
        """Run the first sweep.

        Args:
            sweep: What to repeat.
            start: Where the first sweep starts; it is overwritten.
        """
        self._sweep = sweep
        self.error = sweep(start)
        self.best = start
        self._previous, self._trial = _copied(start), _copied(start)
        self._age = 1

    def run(self, sweeps: int, on_sweep: Callable[[], None] | None = None) -> Descent:
        """Run more sweeps.

        Args:
            sweeps: How many at most.
            on_sweep: Called before each; what it raises ends the work.

        Returns:
            This descent.
        """
        for _ in range(sweeps):
            if on_sweep is not None:
                on_sweep()
            momentum = max(self._age - 1, 0) / (self._age + 2)
            for before, now, extrapolated in zip(self._previous, self.best, self._trial, strict=True):
                torch.lerp(before, now, 1 + momentum, out=extrapolated)
            error = self._sweep(self._trial)
            if error <= self.error:
                self._previous, self.best, self._trial = self.best, self._trial, self._previous
                self.error, self._age = error, self._age + 1
            elif momentum > 0:
                self._age = 0
            else:
                break
        return self


def _copied(state: State) -> State:
    return tuple(variable.clone() for variable in state)
