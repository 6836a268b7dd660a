"""One small runner per runtime, all with the same verbs: load a model, answer logits.

A runner is for one thread: LiteRT's interpreter and the fused LSTM's state belong to one caller.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.layers import Array

Floats = NDArray[np.float32]
SUFFIXES = (".onnx", ".tflite")
_OPEN_BATCH = 64  # windows at once, where the model takes any number


class Runner(Protocol):
    """What every runtime offers.

    `name` is what errors call the model, `runtime` what tables call the runtime; `window_shape` is (window,
    channels); `batch` the windows that the model takes at once, None for any number; `metadata` the strings that
    the export wrote into the file (empty for foreign files).
    """

    name: str
    runtime: str
    window_shape: tuple[int, int]
    batch: int | None

    @property
    def metadata(self) -> dict[str, str]: ...

    def logits(self, windows: Array) -> NDArray[Any]:
        """windows [n, window, channels] in physical units -> logits [n, labels].

        Raises InputError for another shape and for NaN or infinity.
        """

    def one(self, window: Floats) -> NDArray[Any]:
        """One batch [batch, window, channels] float32 -> logits [batch, labels]; checks nothing: for measuring."""


def in_batches(one: Callable[[Floats], Floats], windows: Array, labels: int, batch: int | None, name: str) -> Floats:
    """Windows [n, window, channels] through a model that takes `batch` at a time -> logits float32 [n, labels].

    The last batch is filled up with copies of its last window. Raises InputError, with the model's `name`, where a
    file that could be loaded cannot be run.
    """
    ready = np.ascontiguousarray(windows, dtype=np.float32)
    answers = np.empty((len(ready), labels), np.float32)
    size = batch or _OPEN_BATCH
    try:
        for start in range(0, len(ready), size):
            part = ready[start : start + size]
            missing = size - len(part) if batch else 0
            full = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
            answers[start : start + size] = one(full)[: len(part)]
    except Exception as error:  # the runtimes' kinds of error share no base class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise InputError(f"{name} can be loaded but not run ({reason}); export it again") from error
    return answers


def prepare(path: Path | str) -> None:
    """Import the runtime that `path` will need, so that a later `load` measures the model alone. Raises InputError."""
    path = Path(path)
    _runner_of(path.suffix, str(path))


def load(path: Path | str) -> Runner:
    """The runner for a file, by its suffix (.onnx or .tflite). Raises InputError."""
    path = Path(path)
    runner = _runner_of(path.suffix, str(path))
    try:
        # Read, not mapped: LiteRT dies of SIGBUS on a truncated file opened by its path (FACTS, trap 6).
        model = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"model not found: {path}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    return runner(model, str(path))


def load_bytes(model: bytes, suffix: str, name: str) -> Runner:
    """The runner for a model in memory; `suffix` as its file would have, `name` for errors. Raises InputError."""
    return _runner_of(suffix, name)(model, name)


def _runner_of(suffix: str, name: str) -> Callable[[bytes, str], Runner]:
    if suffix.lower() == ".onnx":
        from harexport.runtimes.onnx import OnnxRunner

        return OnnxRunner
    if suffix.lower() == ".tflite":
        from harexport.runtimes.litert import LiteRtRunner

        return LiteRtRunner
    ending = f"ends in {suffix}" if suffix else "has no suffix"
    raise InputError(f"{name} {ending}: no runtime reads that; choose one of {', '.join(SUFFIXES)}")
