"""What a person sees while a command works: progress bars on a terminal, plain lines in a log.

Everything here goes to standard error, so that standard output holds results only (with --json: one
JSON document and nothing else).
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

_LOG_EVERY_SECONDS = 10.0  # in a log, a long step says how far it is this often

Advance = Callable[[int], None]  # told how much is done in all, not how much was added


def say(text: str = "") -> None:
    """Print one line for people."""
    if sys.stderr is not None:  # None where it was closed; print would then write to standard output
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def track(description: str, total: int | None, unit: str = "", *, bytes_: bool = False) -> Iterator[Advance]:
    """Show how far a step is: yields a function to be called with the amount done so far.

    `total` None means that the end is not known; `bytes_` shows megabytes.
    """
    if sys.stderr is not None and sys.stderr.isatty():
        with _bar(description, total, bytes_) as move:
            yield move
        return
    scale, unit = (1e6, "MB") if bytes_ else (1, unit)
    began = said = time.monotonic()

    def advance(done: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _LOG_EVERY_SECONDS:
            said = time.monotonic()
            of = f" of {total / scale:.0f}" if total else ""
            left = f", {(said - began) / done * (total - done):.0f} s left" if total and 0 < done < total else ""
            say(f"{description}: {done / scale:.0f}{of} {unit}, {said - began:.0f} s{left}".replace("  ", " "))

    say(f"{description} ...")
    yield advance


@contextlib.contextmanager
def _bar(description: str, total: int | None, bytes_: bool) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    amount = DownloadColumn() if bytes_ else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.update(task, completed=done)
