"""Ctrl-C and SIGTERM: one way to end, whatever a command is at."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interrupts:
    """Whether somebody asked for an end. Then an error is that end: libraries turn a KeyboardInterrupt that meets
    them half imported into errors of their own."""

    asked: bool = False


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupts]:
    """SIGTERM (a batch system's time limit, `kill`, a machine that shuts down) raises KeyboardInterrupt as Ctrl-C does.

    Signals that somebody handles or ignores already stay as they are, so one inside another changes nothing.
    """
    interrupts = Interrupts()

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupts.asked = True
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():  # Python lets only that one handle signals
        for number, default in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            if signal.getsignal(number) == default:
                before[number] = signal.signal(number, interrupt)
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
