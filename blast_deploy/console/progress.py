"""Progress of long work on the terminal, and as plain lines where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

Progress = Callable[[int, int, str], None]
LINE_SECONDS = 10.0
"""How often a line is written where standard error is no terminal."""


@contextmanager
def track() -> Iterator[Progress]:
    """Give a callback that shows steps done, steps in all and what is being done, on standard error.

    Nothing is drawn between calls: a thread that redraws would disturb what is being timed.
    """
    if not sys.stderr.isatty():
        yield LineProgress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield partial(_show, bar, task)


def _show(bar: Bar, task: TaskID, done: int, total: int, what: str) -> None:
    from rich.markup import escape

    if done < bar.tasks[task].completed:
        bar.reset(task)  # the next stage begins, and with it its time
    bar.update(task, completed=done, total=total, description=escape(what), refresh=True)


class LineProgress:
    """Writes a line now and then."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, write: Callable[[str], object] | None = None
    ) -> None:
        self._clock = clock
        self._write = write or (lambda line: print(line, file=sys.stderr, flush=True))
        self._begun = self._last = clock()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Show progress, unless a line was written a moment ago."""
        now = self._clock()
        if now - self._last < LINE_SECONDS:
            return
        self._last = now
        self._write(f"{done}/{total} {what} ({now - self._begun:.0f} s)")
