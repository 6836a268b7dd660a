"""A child process that reads, loads and runs model files of unknown origin, and its protocol.

A damaged or hostile file can end the process that loads it (SIGSEGV, SIGBUS, an endless loop, exhausted memory). One
child per command does that work, `python -P -m harexport.runtimes.worker_main`; it is started when it is first needed,
and again after a model ended it.

Requests and replies are messages over the child's standard input and output: 8 bytes with the length of a JSON object,
the object, and the bytes of the arrays that its key "arrays" describes.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from harexport.formats.model_file import to_printable

_MAX_HEADER = 1 << 26  # bytes
_MAX_ARRAYS = 1 << 32  # bytes of all arrays of a message
_POLL_SECONDS = 0.2  # between two checks of the time limit
_MAX_REASON = 200  # characters
_MAX_STDERR = 1 << 16  # bytes that are read for the reason of an end
# A second attempt in a fresh process would use up the limits again.
_LIMIT_SIGNALS = ("SIGXCPU", "SIGKILL")

_lock = threading.RLock()
_shared: Worker | None = None


def write_message(stream: IO[bytes], header: dict[str, Any], arrays: Sequence[NDArray[Any]] = ()) -> None:
    """Write a message; `header` is a JSON object."""
    described = [[array.dtype.str, list(array.shape)] for array in arrays]
    text = json.dumps({**header, "arrays": described}).encode()
    stream.write(len(text).to_bytes(8, "little") + text)
    for array in arrays:
        if array.size:
            stream.write(np.ascontiguousarray(array).data.cast("B"))
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """Read a message. Raises EOFError at the end of the stream, ValueError for anything else than a message."""
    length = int.from_bytes(_read_exactly(stream, 8), "little")
    if length > _MAX_HEADER:
        raise ValueError(f"a header of {length} bytes")
    header = json.loads(_read_exactly(stream, length))
    arrays = []
    total = 0
    for kind, shape in header.pop("arrays"):
        dtype = np.dtype(kind)
        size = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
        total += size
        if dtype.kind not in "fiub" or total > _MAX_ARRAYS:
            raise ValueError(f"an array {dtype} of {size} bytes")
        arrays.append(np.frombuffer(_read_exactly(stream, size), dtype).reshape(shape))
    return header, arrays


def _read_exactly(stream: IO[bytes], size: int) -> bytearray:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        count = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count
    return data


class WorkerEnded(Exception):
    """The child process ended during a request.

    Attributes:
        stage: The step that it did last: "start", "read", "load" or "run".
        reason: Signal or message of its end; empty if the time limit ended it.
        is_late: Whether the time limit ended it.
        can_retry: Whether an earlier model may have damaged the process, so that a fresh one may succeed.
    """

    def __init__(self, stage: str, reason: str, is_late: bool, can_retry: bool) -> None:
        super().__init__(stage, reason)
        self.stage, self.reason, self.is_late, self.can_retry = stage, reason, is_late, can_retry


class Worker:
    """A running child process."""

    def __init__(self) -> None:
        self.models: set[str] = set()  # names of the models that it was given
        self.released: list[int] = []  # handles of runners that it may delete
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        self._process = subprocess.Popen(
            # -P: the current folder may contain another package named harexport
            [sys.executable, "-P", "-m", "harexport.runtimes.worker_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._deadline: float | None = None
        self._is_late = False
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def is_alive(self) -> bool:
        return not self._closed.is_set() and self._process.poll() is None

    def request(
        self, header: dict[str, Any], arrays: Sequence[NDArray[Any]], seconds: float
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Send a request and wait for its reply; see `worker_main` for the requests.

        Raises:
            WorkerEnded: The child ended or was stopped after `seconds`.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        header = {**header, "release": self.released}
        self.released = []
        stage = str(header.get("stage", "start"))
        self._deadline = time.monotonic() + seconds
        try:
            write_message(self._process.stdin, header, arrays)
            while True:
                reply, values = read_message(self._process.stdout)
                if "stage" not in reply:
                    return reply, values
                stage = str(reply["stage"])
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            raise self._describe_end(stage) from None
        except BaseException:  # an interrupt: the rest of the reply would be taken for that of the next request
            self.close()
            raise
        finally:
            self._deadline = None

    def close(self) -> None:
        """End the child process."""
        self._closed.set()
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _describe_end(self, stage: str) -> WorkerEnded:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        code = self._process.poll()
        reason = "no message"
        if code is not None and code < 0 and not self._is_late:
            with contextlib.suppress(ValueError):
                reason = signal.Signals(-code).name
        elif not self._is_late:
            self._errors.seek(0, os.SEEK_END)
            self._errors.seek(max(0, self._errors.tell() - _MAX_STDERR))
            lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
            reason = to_printable(lines[-1])[:_MAX_REASON] if lines else reason
        self.close()
        can_retry = len(self.models) > 1 and not self._is_late and reason not in _LIMIT_SIGNALS
        return WorkerEnded(stage, "" if self._is_late else reason, self._is_late, can_retry)

    def _watch(self) -> None:
        """Kill the child when a request exceeds its time limit."""
        while not self._closed.wait(_POLL_SECONDS):
            deadline = self._deadline
            if deadline is not None and time.monotonic() > deadline:
                self._is_late = True
                self._process.kill()
                return


@contextlib.contextmanager
def use_worker() -> Iterator[Worker]:
    """The child process of this command, started if necessary; one thread at a time uses it."""
    global _shared
    with _lock:
        if _shared is None or not _shared.is_alive:
            if _shared is not None:
                _shared.close()
            _shared = Worker()
        yield _shared


def close_worker() -> None:
    """End the child process of this command, if there is one."""
    global _shared
    with _lock:
        if _shared is not None:
            _shared.close()
            _shared = None


def _forget_worker() -> None:
    """In a forked process: the child belongs to the parent."""
    global _shared, _lock
    _shared, _lock = None, threading.RLock()


atexit.register(close_worker)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_worker)
