"""Progress messages and progress bars.

Messages go to the logger "harexport", which has no handler unless the application adds one: a library call prints
nothing. The command line calls `print_messages` and gets them on standard error, with progress bars on a terminal;
standard output holds results only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from harexport.errors import InputError

_COLOR = re.compile(r"(\x1b\[[0-9;]*m)")
_MAX_MESSAGE = 2000  # characters
_LOG_INTERVAL_S = 10.0  # between two lines about the same step, without a terminal

Advance = Callable[[int], None]  # takes the total amount done so far, not the increment

logger = logging.getLogger("harexport")
logger.addHandler(logging.NullHandler())


class _StderrHandler(logging.Handler):
    """Print each message as one line on the current sys.stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None:  # None where it is closed; print() would then use standard output
            try:
                print(sanitize(self.format(record)), file=sys.stderr, flush=True)
            except OSError:  # a log on a full disk does not end a training
                discard_buffer(sys.stderr)


def sanitize(text: str, *, keep_colors: bool = False) -> str:
    """Replace the characters that a terminal interprets, except line breaks and tabs.

    Text from files (names, labels, headers, metadata) can contain escape sequences.

    Args:
        text: Text to print.
        keep_colors: Keep the escape sequences of colors and styles.
    """
    parts = _COLOR.split(text) if keep_colors else [text]
    parts[::2] = [
        "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in part)
        for part in parts[::2]
    ]
    return "".join(parts)


def shorten(message: str) -> str:
    """Cut an error message that repeats a very long value."""
    if len(message) <= _MAX_MESSAGE:
        return message
    return f"{message[: _MAX_MESSAGE // 2]} ... {message[-_MAX_MESSAGE // 2 :]}"  # the reason is often at the end


def print_messages() -> None:
    """Print messages and progress of harexport on standard error, as the command line does."""
    if not _prints_messages():
        logger.addHandler(_StderrHandler())
        logger.setLevel(logging.INFO)


def print_output(text: str, *, newline: bool = True) -> None:
    """Print a result to standard output.

    Args:
        text: Text without control characters.
        newline: End it with a line break.

    Raises:
        InputError: Standard output cannot be written, such as a file on a full disk.
        BrokenPipeError: Its reader has ended.
    """
    import click

    try:
        click.echo(text, nl=newline)
    except OSError as error:
        discard_buffer(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise
        raise InputError(
            f"cannot write to standard output: {error.strerror or error}; its file is incomplete"
        ) from error


def discard_buffer(stream: TextIO | None) -> None:
    """Discard what a stream could not write. Python writes it again at its end, and then exits with code 120."""
    if stream is not None:  # None where it is closed
        with contextlib.suppress(OSError):  # a stream without a descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def info(text: str = "") -> None:
    """Log one message at level INFO."""
    logger.info("%s", text)


@contextlib.contextmanager
def progress(description: str, total: int | None, unit: str = "", *, bytes_: bool = False) -> Iterator[Advance]:
    """Show the progress of a long step: a bar on the command line's terminal, else a message now and then.

    Args:
        description: Name of the step.
        total: Amount of work, None if unknown.
        unit: Unit of the amount, such as "files".
        bytes_: The amount is in bytes and is shown in megabytes.

    Yields:
        A function to be called with the total amount done so far.
    """
    if _prints_messages() and sys.stderr is not None and sys.stderr.isatty():
        with _bar(description, total, bytes_) as move:
            yield move
        return
    scale, unit = (1e6, "MB") if bytes_ else (1, unit)
    start = last = time.monotonic()

    def advance(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _LOG_INTERVAL_S:
            last = time.monotonic()
            of = f" of {total / scale:.0f}" if total else ""
            remaining = f", {(last - start) / done * (total - done):.0f} s left" if total and 0 < done < total else ""
            info(f"{description}: {done / scale:.0f}{of} {unit}, {last - start:.0f} s{remaining}".replace("  ", " "))

    info(f"{description} ...")
    yield advance


def _prints_messages() -> bool:
    return any(isinstance(handler, _StderrHandler) for handler in logger.handlers)


@contextlib.contextmanager
def _bar(description: str, total: int | None, bytes_: bool) -> Iterator[Advance]:
    from rich.console import Console
    from rich.markup import escape
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
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(escape(sanitize(description)), total=total)
        yield lambda done: bar.update(task, completed=done)
