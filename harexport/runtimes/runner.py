"""The interface of all runners, and what they share.

A runner must not be shared between threads: LiteRT's interpreter and the state of a fused LSTM belong to one caller.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.layers import Array
from harexport.model.network import Network

Floats = NDArray[np.float32]
SUFFIXES = (".onnx", ".tflite")
RUNTIMES = {"tflite": "LiteRT", "onnx": "ONNX Runtime"}
_OPEN_BATCH = 64  # windows per call of a model that accepts any number


class Runner(Protocol):
    """The interface of every runtime.

    Attributes:
        name: The model's name in error messages.
        runtime: The runtime's name in tables.
        window_shape: (window, channels) of the input; -1 for an axis of open length.
        batch: Windows per call, None for any number.
    """

    name: str
    runtime: str
    window_shape: tuple[int, int]
    batch: int | None

    @property
    def metadata(self) -> dict[str, str]:
        """The strings that the export wrote into the file; empty for third-party files."""

    def logits(self, windows: Array) -> NDArray[Any]:
        """Run any number of windows.

        Args:
            windows: [n, window, channels] in physical units.

        Returns:
            Logits [n, labels].

        Raises:
            InputError: The shape differs from `window_shape`, or a value is NaN or infinite.
        """

    def run_batch(self, windows: Floats) -> NDArray[Any]:
        """Run one batch [batch, window, channels] -> logits [batch, labels], without checks: the call to measure."""


class ReferenceRunner:
    """`Network.logits` with the interface of a runner; logits are float64."""

    def __init__(self, network: Network, name: str = "reference") -> None:
        self.name = name
        self.runtime = "NumPy float64"
        self.window_shape = (network.window, network.num_channels)
        self.batch: int | None = None
        self.metadata: dict[str, str] = {}
        self._network = network

    def logits(self, windows: Array, progress: Callable[[int], None] | None = None) -> NDArray[np.float64]:
        """Windows [n, window, channels] -> logits [n, labels]; see `Network.logits`. Raises InputError."""
        return self._network.logits(windows, progress)

    def run_batch(self, windows: Floats) -> NDArray[np.float64]:
        """Windows [n, window, channels] -> logits [n, labels]."""
        return self._network.logits(windows)


def in_batches(
    run_batch: Callable[[Floats], NDArray[Any]], windows: Array, labels: int | None, batch: int | None, name: str
) -> Floats:
    """Run windows through a model that takes `batch` of them per call.

    The last batch is padded with copies of its last window.

    Args:
        run_batch: The model: [batch, window, channels] -> [batch, ..., labels].
        windows: [n, window, channels].
        labels: Values per window in the output; None to accept any number.
        batch: Windows per call, None for any number.
        name: The model's name in the error message.

    Returns:
        Logits float32 [n, labels].

    Raises:
        InputError: The model fails while it runs.
    """
    ready = np.ascontiguousarray(windows, dtype=np.float32)
    parts = [np.empty((0, labels), np.float32)] if labels else []
    size = batch or _OPEN_BATCH
    try:
        for start in range(0, len(ready), size):
            part = ready[start : start + size]
            missing = size - len(part) if batch else 0
            full = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
            parts.append(run_batch(full).reshape(len(full), labels or -1)[: len(part)].astype(np.float32))
    except Exception as error:  # the runtimes' errors share no base class
        raise InputError(f"{name} can be loaded but not run ({describe_error(error)}); export it again") from error
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def describe_error(error: Exception) -> str:
    """Return the message of a runtime's error in one line, without source file and function of the runtime."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # "[ONNXRuntimeError] : 1 : FAIL : /path/model.cc:256 ns::Model::Model(std::string&&, ...) message"
    message = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(lines) if len(lines) <= 3 else lines[-1])
    if location := re.match(r"(?:Load model from .* failed:)?/\S+\.(?:cc|h):\d+ [^(]*\(", message):
        depth, end = 1, location.end()
        while depth and end < len(message):
            depth += {"(": 1, ")": -1}.get(message[end], 0)
            end += 1
        message = message[end:].removeprefix(" const").strip() or message
    return message


@contextlib.contextmanager
def redirect_native_stdout() -> Iterator[None]:
    """Send what native libraries print to standard output to standard error: standard output is for results."""
    try:
        original = os.dup(1)
    except OSError:  # a program without standard output
        yield
        return
    if sys.stdout is not None:
        sys.stdout.flush()
    try:
        with contextlib.suppress(OSError):  # no standard error
            os.dup2(2, 1)
        yield
    finally:
        os.dup2(original, 1)
        os.close(original)


def check_suffix(suffix: str, name: str) -> None:
    """Raise InputError for a suffix that no runtime reads."""
    if suffix.lower() not in SUFFIXES:
        ending = f"ends in {suffix}" if suffix else "has no suffix"
        raise InputError(f"{name} {ending}: no runtime reads that; choose one of {', '.join(SUFFIXES)}")
