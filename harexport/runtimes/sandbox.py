"""Run models of unknown origin in a child process; detect crashes and hidden state.

No runtime loads such a file in this process, in any command, and ONNX's native checks run in the child, too. This
process parses the file in Python, after the child has parsed it within limits of time and memory. See worker.py.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.formats import identify_format, read_model
from harexport.formats.model_file import ModelFile
from harexport.model.contract import LOGITS_NAME
from harexport.model.layers import Array
from harexport.model.network import check_windows
from harexport.runtimes.runner import RUNTIMES, Floats, check_suffix
from harexport.runtimes.worker import Worker, WorkerEnded, use_worker

_PACKAGES = {"tflite": "ai-edge-litert", "onnx": "onnxruntime"}
_SECONDS = 60
_TEST_SET_SECONDS = 600  # of a part of the windows, or a block of timed runs
_WINDOWS_PER_REQUEST = 1024
_STAGES = {"start": "starting", "read": "reading", "load": "loading", "run": "running"}
STATE_TOLERANCE = 0.01  # an output or a state that differs by less does not depend on earlier windows


@dataclass(frozen=True)
class SandboxResult:
    """What a run in a subprocess shows."""

    runtime: str  # name and version
    error: str | None = None  # one sentence without a path; None where the model loads and runs
    killed: bool = False  # whether the child crashed or ran out of time
    is_readable: bool = True  # whether the child could read the file within its limits of time and memory
    read_error: str | None = None  # why the file is damaged
    change: float | None = None  # largest change of any output to a window (A) after another one (B)
    state_residual: float | None = None  # distance of the variables from their initial values; None without variables
    nan_persists: bool | None = None  # whether a window of NaN still changes the output three windows later
    is_random: bool = False  # whether outputs differ by chance
    is_finite: bool = True  # whether all outputs to the first window are finite
    unexamined: str | None = None  # why the outputs of a model that runs were not examined
    probabilities: tuple[str, ...] = ()  # outputs that are nonnegative and sum to 1

    @property
    def is_stateful(self) -> bool:
        """Whether an output depends on earlier windows, or will for windows other than these."""
        residual = self.state_residual or 0.0
        return not self.is_random and (bool(self.change) or bool(self.nan_persists) or residual > STATE_TOLERANCE)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return {
            "runtime": self.runtime,
            "error": self.error,
            "killed": self.killed,
            "change": self.change,
            "state_residual": self.state_residual,
            "nan_persists": self.nan_persists,
            "random": self.is_random,
            "finite": self.is_finite,
            "probabilities": list(self.probabilities),
        }


def run_sandboxed(
    model: bytes, suffix: str, path: Path | None = None, *, run: bool = True, seconds: float = _SECONDS
) -> SandboxResult:
    """Read a model in the child process with limits of time and memory, then load and run it there.

    Args:
        model: The file's bytes.
        suffix: ".onnx" or ".tflite".
        path: The file, to find weights in files beside it.
        run: Whether to load and run the model, too.
        seconds: Time limit.

    Returns:
        The result; whatever the file contains, this process neither raises nor crashes.
    """
    result, _, _ = _examine(model, suffix.lower(), path.name if path else f"model{suffix}", path, run, seconds)
    return result


def read_sandboxed(model: bytes, name: str, path: Path, *, run: bool = True) -> tuple[ModelFile, SandboxResult]:
    """Read a model file of unknown origin, after a child process has read it within limits of time and memory.

    Args:
        model: The file's bytes.
        name: The file's name in error messages.
        path: The file, to find weights in files beside it.
        run: Whether to load and run the model in the child process, too.

    Raises:
        InputError: The file is damaged, of another format, or takes too much time or memory to read.
    """
    result, problem, inferred = _examine(model, f".{identify_format(model, name)}", name, path, run, _SECONDS)
    if not result.is_readable:
        raise InputError(f"{name} is damaged: reading it takes too much time or memory; get or export it again")
    if result.read_error:
        raise InputError(result.read_error)
    return read_model(model, name, path.parent, checked=(problem, inferred)), result


def run_first_output(model: bytes, suffix: str, name: str, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Load a model with one input in the child process, and run it on each of `inputs`.

    Args:
        model: The file's bytes.
        suffix: ".onnx" or ".tflite".
        name: Its name in error messages.
        inputs: Arrays for its input.

    Returns:
        Its first output for each of them.

    Raises:
        InputError: The runtime cannot load or run the model.
    """
    header = {"command": "run_first_output", "suffix": suffix, "name": name}
    return _request(header, [np.frombuffer(model, np.uint8), *inputs], suffix, name)[1]


def read_intermediate_values(model: bytes, suffix: str, name: str, window: Floats) -> list[Floats]:
    """Run `window` [1, window, channels] in the child process -> every float32 tensor. Raises InputError."""
    header = {"command": "read_intermediate_values", "suffix": suffix, "name": name, "stage": "run"}
    return _request(header, [np.frombuffer(model, np.uint8), window], suffix, name)[1]


def context_switches() -> int | None:
    """Return the involuntary context switches of the child process; None if it cannot count them."""
    with use_worker() as worker:
        try:
            return worker.request({"command": "context_switches"}, [], _SECONDS)[0].get("switches")
        except WorkerEnded:
            return None


class SandboxedRunner:
    """A model file of unknown origin as a runner, in the child process. See `runtimes.load_bytes` for the arguments.

    If another model ends the child, the file is loaded again.

    Raises:
        InputError: The runtime cannot load the model, or its input is no window.
    """

    _handles = itertools.count()

    def __init__(
        self, model: bytes | Path, suffix: str, name: str, *, threads: int = 1, output: str | int = LOGITS_NAME
    ) -> None:
        check_suffix(suffix, name)
        self.name = name
        self.runtime = RUNTIMES[suffix.lower().removeprefix(".")]
        self._model, self._suffix, self._threads, self._output = model, suffix.lower(), threads, output
        self._worker: Worker | None = None
        self._handle = -1
        with use_worker() as worker:
            reply = self._open(worker)
        window, channels = reply["window_shape"]
        self.window_shape: tuple[int, int] = (int(window), int(channels))
        self.batch: int | None = reply["batch"]
        self.metadata: dict[str, str] = reply["metadata"]

    def logits(self, windows: Array) -> Floats:
        """Run windows [n, window, channels] -> logits float32 [n, labels]. Raises InputError."""
        check_windows(windows, *self.window_shape)
        size = max(1, _WINDOWS_PER_REQUEST // (self.batch or 1)) * (self.batch or 1)
        starts = range(0, max(1, len(windows)), size)
        parts = [
            self._call("logits", [np.ascontiguousarray(windows[start : start + size], np.float32)])[0]
            for start in starts
        ]
        return np.concatenate(parts)

    def run_batch(self, windows: Floats) -> Floats:
        """Run one batch [batch, window, channels] -> logits [batch, labels], without checks."""
        values: Floats = self._call("run_batch", [windows])[0]
        return values

    def __call__(self, windows: Floats) -> Floats:
        """Run one batch, as `evaluation.latency` calls a model."""
        return self.run_batch(windows)

    def time_block(self, batches: Sequence[Floats]) -> list[int]:
        """Time one run per batch inside the child process -> nanoseconds."""
        times: list[int] = self._call("time_block", batches, _TEST_SET_SECONDS)[0].tolist()
        return times

    def __del__(self) -> None:
        if (worker := getattr(self, "_worker", None)) is not None:
            worker.released.append(self._handle)

    def _call(self, command: str, arrays: Sequence[NDArray[Any]], seconds: float = _TEST_SET_SECONDS) -> list[Any]:
        header = {"command": command, "stage": "run"}
        for attempt in (0, 1):
            with use_worker() as worker:
                if worker is not self._worker:
                    self._open(worker)
                try:
                    reply, values = worker.request({**header, "handle": self._handle}, arrays, seconds)
                except WorkerEnded as end:
                    if end.can_retry and attempt == 0:
                        continue
                    raise _end_error(end, self._suffix, self.name, seconds) from None
                return _check_reply(reply, values, self.name)[1]
        raise AssertionError("unreachable")

    def _open(self, worker: Worker) -> dict[str, Any]:
        """Load the file in the child process, in a second one if another model has damaged the first."""
        self._handle = next(SandboxedRunner._handles)
        header = {
            "command": "open",
            "suffix": self._suffix,
            "name": self.name,
            "path": str(self._model.resolve()) if isinstance(self._model, Path) else None,
            "threads": self._threads,
            "output": self._output,
            "cores": _cores(),
            "handle": self._handle,
        }
        arrays = [] if isinstance(self._model, Path) else [np.frombuffer(self._model, np.uint8)]
        worker.models.add(self.name)
        try:
            reply, values = worker.request(header, arrays, _SECONDS)
        except WorkerEnded as end:
            if end.can_retry:
                with use_worker() as fresh:
                    return self._open(fresh)
            raise _end_error(end, self._suffix, self.name, _SECONDS) from None
        self._worker = worker
        return _check_reply(reply, values, self.name)[0]


def _examine(
    model: bytes, suffix: str, name: str, path: Path | None, run: bool, seconds: float
) -> tuple[SandboxResult, str | None, bytes]:
    """Return the result, the problem that ONNX's checker found, and the ONNX model with inferred shapes."""
    header = {
        "command": "examine",
        "suffix": suffix,
        "name": name,
        "path": str(path.resolve()) if path else None,
        "run": run,
    }
    runtime = _runtime(suffix)
    try:
        reply, arrays = _send(header, [np.frombuffer(model, np.uint8)], name, seconds)
    except WorkerEnded as end:
        error = _describe(end, suffix, seconds)
        return SandboxResult(runtime, error, killed=True, is_readable=end.stage != "read"), None, b""
    found = dict(reply.get("result") or {"error": f"cannot examine it: {reply.get('error')}"})
    if "error" in found:
        found["error"] = f"{runtime} {found['error']}"
    found["probabilities"] = tuple(found.get("probabilities", ()))
    result = SandboxResult(runtime, read_error=reply.get("read_error"), **found)
    return result, reply.get("problem"), arrays[0].tobytes() if arrays else b""


def _request(
    header: dict[str, Any], arrays: Sequence[NDArray[Any]], suffix: str, name: str
) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    try:
        reply, values = _send(header, arrays, name, _SECONDS)
    except WorkerEnded as end:
        raise _end_error(end, suffix, name, _SECONDS) from None
    if "error" in reply:
        raise InputError(f"{name}: {_runtime(suffix)} cannot run it ({reply['error']}); export it again")
    return _check_reply(reply, values, name)


def _send(
    header: dict[str, Any], arrays: Sequence[NDArray[Any]], name: str, seconds: float
) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """Send a request about a model, a second time if another model may have damaged the process."""
    with use_worker() as worker:
        worker.models.add(name)
        try:
            return worker.request(header, arrays, seconds)
        except WorkerEnded as end:
            if not end.can_retry:
                raise
    with use_worker() as fresh:
        fresh.models.add(name)
        return fresh.request(header, arrays, seconds)


def _check_reply(
    reply: dict[str, Any], arrays: list[NDArray[Any]], name: str
) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    if "input_error" in reply:
        raise InputError(str(reply["input_error"]))
    if "error" in reply:
        raise InputError(f"{name} can be loaded but not run ({reply['error']}); export it again")
    return reply, arrays


def _end_error(end: WorkerEnded, suffix: str, name: str, seconds: float) -> InputError:
    return InputError(f"{name}: {_describe(end, suffix, seconds)}; export it again")


def _describe(end: WorkerEnded, suffix: str, seconds: float) -> str:
    """What ended the child process, in one sentence."""
    runtime, stage = _runtime(suffix), _STAGES.get(end.stage, "running")
    if end.is_late:
        return f"{runtime} was still {stage} it after {seconds:.0f} s"
    if end.reason.startswith("SIG") and " " not in end.reason:
        return f"{runtime} crashes while {stage} it ({end.reason})"
    return f"{runtime} ends while {stage} it ({end.reason})"


def _runtime(suffix: str) -> str:
    fmt = suffix.lower().removeprefix(".")
    return f"{RUNTIMES[fmt]} {metadata.version(_PACKAGES[fmt])}"


def _cores() -> list[int]:
    """The cores to which this thread is pinned; empty where the system cannot pin."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
