"""The child process of `worker.Worker`: python -P -m harexport.runtimes.worker_main

A request is a message with "command" and the keys of the function of that name below. The reply has what the function
returns, or {"input_error": ...} or {"error": ...}. Messages {"stage": ...} before the reply name the step that follows,
so that the parent process knows what ended this one.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.evaluation.latency import time_block
from harexport.formats import read_model
from harexport.formats.macs import count_macs
from harexport.formats.model_file import ModelFile, to_printable
from harexport.runtimes import examination, load_bytes
from harexport.runtimes.runner import describe_error
from harexport.runtimes.worker import read_message, write_message

_Reply = tuple[dict[str, Any], Sequence[NDArray[Any]]]

_MEMORY = 8 << 30  # bytes of address space: one wrong length in a file can request terabytes
_READ_MEMORY = 4 << 30  # bytes of address space that reading a file may add
_READ_SECONDS = 10  # of processor time: legitimate files of 100 MB take 2
_RUN_SECONDS = 300  # of processor time per request, if the parent process ended without stopping this one
_WRITTEN_BYTES = 1 << 26  # of messages on standard error; nothing else is written
_MAX_MESSAGE = 400  # characters


class _Requests:
    """The functions that a request can name."""

    def __init__(self, replies: IO[bytes]) -> None:
        self._replies = replies
        self._runners: dict[int, Any] = {}

    def examine(self, request: dict[str, Any], arrays: list[NDArray[Any]]) -> _Reply:
        """Read a file, and if "run" is set, load and run it. Returns "result", "read_error" and ONNX's inferred model.

        Keys: suffix, name, path or None, run. The array is the file.
        """
        model, suffix, path = arrays[0].tobytes(), request["suffix"], request["path"]
        self._stage("read")
        file, reply, inferred = _read(model, suffix, request["name"], Path(path).parent if path else None)
        if not request["run"]:
            return {**reply, "result": {"change": None}}, inferred
        source = Path(path) if path and file and file.external else model

        def load() -> Any:
            self._stage("load")
            loaded = _load_any(suffix, source)
            self._stage("run")
            return loaded

        return {**reply, "result": examination.examine(load, file)}, inferred

    def open(self, request: dict[str, Any], arrays: list[NDArray[Any]]) -> _Reply:
        """Build a runner. Returns its attributes; "handle" names it in later requests.

        Keys: suffix, name, path or None (of a file with weights beside it), threads, output, cores, handle.
        """
        self._stage("load")
        if request["cores"]:
            os.sched_setaffinity(0, request["cores"])
        source = Path(request["path"]) if request["path"] else arrays[0].tobytes()
        runner = load_bytes(
            source, request["suffix"], request["name"], threads=request["threads"], output=request["output"]
        )
        self._runners[request["handle"]] = runner
        shape = list(runner.window_shape)
        return {"window_shape": shape, "batch": runner.batch, "metadata": runner.metadata}, []

    def logits(self, request: dict[str, Any], arrays: list[NDArray[Any]]) -> _Reply:
        """Run any number of windows."""
        return {}, [self._runners[request["handle"]].logits(arrays[0])]

    def run_batch(self, request: dict[str, Any], arrays: list[NDArray[Any]]) -> _Reply:
        """Run one batch."""
        return {}, [np.asarray(self._runners[request["handle"]].run_batch(arrays[0]))]

    def time_block(self, request: dict[str, Any], arrays: list[NDArray[Any]]) -> _Reply:
        """Time one run per array; returns the nanoseconds."""
        gc.disable()  # as timeit does: a collection would be counted as the model's time
        try:
            times = time_block(self._runners[request["handle"]].run_batch, arrays)
        finally:
            gc.enable()
        return {}, [np.array(times, np.int64)]

    def read_intermediate_values(self, request: dict[str, Any], arrays: list[NDArray[Any]]) -> _Reply:
        """Run the second array through the file in the first; returns its float32 tensors."""
        model, window = arrays[0].tobytes(), arrays[1]
        if request["suffix"] == ".onnx":
            from harexport.runtimes import onnx

            return {}, onnx.read_intermediate_values(model, window)
        from harexport.runtimes import litert

        return {}, litert.read_intermediate_values(model, window)

    def run_first_output(self, request: dict[str, Any], arrays: list[NDArray[Any]]) -> _Reply:
        """Load the file in the first array, and run it on each of the others; returns its first output for each."""
        self._stage("load")
        model = _load_any(request["suffix"], arrays[0].tobytes())
        self._stage("run")
        return {}, [np.asarray(next(iter(model.run([values]).values()))) for values in arrays[1:]]

    def context_switches(self, request: dict[str, Any], arrays: list[NDArray[Any]]) -> _Reply:
        """Return the number of involuntary context switches of this process."""
        import resource

        return {"switches": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw}, []

    def handle(self, request: dict[str, Any], arrays: list[NDArray[Any]]) -> _Reply:
        """Run the function that a request names; errors become replies."""
        for handle in request["release"]:
            self._runners.pop(handle, None)
        _limit("RLIMIT_CPU", int(time.process_time()) + _RUN_SECONDS)
        function: Callable[[dict[str, Any], list[NDArray[Any]]], _Reply] = getattr(self, request["command"])
        try:
            return function(request, arrays)
        except InputError as error:
            return {"input_error": str(error)}, []
        except Exception as error:  # the runtimes' errors share no base class
            return {"error": to_printable(describe_error(error))[:_MAX_MESSAGE]}, []

    def _stage(self, name: str) -> None:
        write_message(self._replies, {"stage": name})


def _read(
    model: bytes, suffix: str, name: str, folder: Path | None
) -> tuple[ModelFile | None, dict[str, Any], list[NDArray[Any]]]:
    """Read a file and count its MACs within the limits.

    Returns:
        The file, None if it is damaged; "read_error", or what `formats.read_model` takes as `checked`, in a reply.
    """
    _limit("RLIMIT_AS", _address_space() + _READ_MEMORY)
    _limit("RLIMIT_CPU", int(time.process_time()) + _READ_SECONDS)
    problem, inferred = None, b""
    try:
        if suffix == ".onnx":
            from harexport.formats import onnx_reader

            problem, inferred = onnx_reader.check(model, name)
        file = read_model(model, name, folder, checked=(problem, inferred))
        count_macs(file)
    except (InputError, MemoryError) as error:
        return None, {"read_error": str(error) or f"{name} is damaged: reading it takes too much memory"}, []
    finally:
        _limit("RLIMIT_CPU", int(time.process_time()) + _RUN_SECONDS)
        _limit("RLIMIT_AS", _MEMORY)
    return file, {"problem": problem}, [np.frombuffer(inferred, np.uint8)]


def _load_any(suffix: str, model: bytes | Path) -> Any:
    if suffix == ".tflite":
        from harexport.runtimes.litert import LiteRtModel

        return LiteRtModel(model if isinstance(model, bytes) else model.read_bytes())
    from harexport.runtimes.onnx import OnnxModel

    return OnnxModel(model)


def _limit(kind: str, soft: int) -> None:
    """Set the soft limit of a resource. Not available on every system."""
    with contextlib.suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        number = getattr(resource, kind)
        hard = resource.getrlimit(number)[1]
        resource.setrlimit(number, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _address_space() -> int:
    """The address space of this process in bytes; 0 where the system does not report it."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process ends this one
    _limit("RLIMIT_CORE", 0)
    _limit("RLIMIT_FSIZE", _WRITTEN_BYTES)
    _limit("RLIMIT_AS", _MEMORY)
    requests = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)  # what native libraries print is no reply
        handler = _Requests(replies)
        while True:
            try:
                request, arrays = read_message(requests)
            except (EOFError, ValueError):
                return
            write_message(replies, *handler.handle(request, arrays))


if __name__ == "__main__":
    _main()
