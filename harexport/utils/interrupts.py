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


_current: list[Interrupts] = []  # of the outermost `interruptible` that is at work, if any


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupts]:
    """SIGTERM (a batch system's time limit, `kill`, a machine that shuts down) raises KeyboardInterrupt as Ctrl-C does.

    Signals that are ignored stay so. One inside another is the outer one; other people's handlers (Ray leaves one) are
    back afterwards.
    """
    # Python lets only the main thread handle signals
    if _current or threading.current_thread() is not threading.main_thread():
        yield _current[0] if _current else Interrupts()
        return
    interrupts = Interrupts()

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupts.asked = True
        raise KeyboardInterrupt

    before = {
        number: handler
        for number in (signal.SIGTERM, signal.SIGINT)
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)  # None: not Python's, not to be had back
    }
    _current.append(interrupts)
    try:
        for number in before:
            signal.signal(number, interrupt)
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _current.clear()
