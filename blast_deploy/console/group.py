"""The command group: what goes wrong becomes one sentence and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from blast_deploy.errors import BlastDeployError

USAGE, INTERNAL, INTERRUPTED, UNREAD, TERMINATED = 2, 70, 130, 141, 143
"""Exit codes: the caller's mistake, ours, Ctrl-C, output that nobody reads, and SIGTERM."""
DEBUG = "--debug"


class _Terminated(BaseException):
    """The process was asked to end; it cleans up first, as for Ctrl-C, which typer keeps for itself."""


class CommandGroup(TyperGroup):
    """A group whose commands never show a traceback, unless ``--debug`` is anywhere among the arguments."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and exit with its code; see the class."""
        arguments = sys.argv[1:] if args is None else list(args)
        others = [argument for argument in arguments if argument != DEBUG]
        try:
            with _terminated_in_order():
                returned = super().main(others, prog_name, complete_var, standalone_mode=False, **extra)
            code = returned if isinstance(returned, int) else 0
            sys.stdout.flush()
        except _Terminated:
            code = TERMINATED
        except (KeyboardInterrupt, typer.Abort):
            code = INTERRUPTED
        except (BrokenPipeError, SystemExit):
            # Whoever read our output has gone. Rich and typer exit with 1 then, by which verify means failed.
            # What is still unwritten would only fail once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = UNREAD
        except Exception as error:
            if DEBUG in arguments:
                traceback.print_exc()
            code = _explain(error)
        if code in (INTERRUPTED, TERMINATED):
            print("interrupted", file=sys.stderr)
        sys.exit(code)


@contextmanager
def _terminated_in_order() -> Iterator[None]:
    """Let SIGTERM, by which services and batch systems end a process, unwind the block as Ctrl-C does."""

    def terminate(*_: object) -> None:
        raise _Terminated

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _explain(error: Exception) -> int:
    """Say what went wrong on standard error; returns the exit code."""
    if isinstance(error, (BlastDeployError, OSError)):
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    # Click's exceptions, whether typer brings its own copy of click or not.
    if hasattr(error, "format_message"):
        print(f"error: {_usage(error)}", file=sys.stderr)
        return USAGE
    print(
        f"internal error: {type(error).__name__}: {' '.join(str(error).split())}; {DEBUG} shows where",
        file=sys.stderr,
    )
    return INTERNAL


def _usage(error: Any) -> str:
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message}; see {context.command_path} --help" if context is not None else message
