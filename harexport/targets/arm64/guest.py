"""Runs inside the emulated machine, in its own Python, which has NumPy and the runtimes and no harexport.

    python3 guest.py JOB.json

JOB names the runtime, the model, a file of raw float32 windows and their shape. With "answers" the logits are written
there; with "log", QEMU's log of executed blocks is sent there while the first windows are answered again. What was
found out is the last line on standard output, as JSON.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARM, EMPTY, BEGIN, END = b"#warm\n", b"#empty\n", b"#begin\n", b"#end\n"
_NULL = "/dev/null"


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Do what `job` says; see the module's words."""
    log = _log() if job.get("log") else None  # before anything else opens a file
    import numpy as np

    if "model" not in job:
        return _versions()
    windows = np.fromfile(job["windows"], dtype="<f4").reshape(job["shape"])
    try:
        model = (_LiteRt if job["runtime"] == "litert" else _Onnx)(Path(job["model"]).read_bytes(), job["output"])
        answers = [model.logits(windows[k : k + model.batch]) for k in range(0, len(windows), model.batch)]
    except Exception as error:  # the runtimes' kinds of error share no base class
        return {"error": (str(error).strip().splitlines() or [type(error).__name__])[-1]}
    logits = np.concatenate(answers)[: len(windows)]
    if job.get("answers"):
        logits.astype("<f4").tofile(job["answers"])
    result: dict[str, Any] = {"labels": int(logits.shape[1]), "batch": model.batch}
    if log is not None:
        _record(log, job["log"], model, windows)
        result["code"] = _code()
    return result


def _record(log: int, path: str, model: _LiteRt | _Onnx, windows: Any) -> None:
    """Each window once more, with QEMU's log going to `path` and marks before and behind the inference alone.

    The log is QEMU's file on descriptor `log`, which the guest shares: pointing that at another file switches
    logging on and off, and start-up, a hundred times the work, goes to /dev/null. Starting the first thread (unless
    shared memory was mapped before) makes QEMU throw away what it has translated, so that every block's length is in
    the log once more.
    """
    _point(log, path)
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    os.write(log, WARM)
    model.ready(windows[:1])()
    for window in windows:
        call = model.ready(window[None])
        os.write(log, EMPTY)
        os.write(log, BEGIN)
        call()
        os.write(log, END)
    _point(log, _NULL)


def _log() -> int:
    """The descriptor that QEMU's log was opened on: it starts with /dev/null (`-D /dev/null`)."""
    for link in Path("/proc/self/fd").iterdir():
        if int(link.name) > 2 and os.path.lexists(link) and str(link.readlink()) == _NULL:
            return int(link.name)
    raise RuntimeError("QEMU's log is not among the open files")


def _point(descriptor: int, path: str) -> None:
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(opened, descriptor)
    os.close(opened)


def _code() -> list[tuple[int, int, str]]:
    """Where code lies: begin, end, file name."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and "x" in fields[1]:
            begin, end = (int(value, 16) for value in fields[0].split("-"))
            found.append((begin, end, fields[5].rsplit("/", 1)[-1]))
    return found


def _versions() -> dict[str, Any]:
    import numpy
    import onnxruntime
    from ai_edge_litert import interpreter

    assert interpreter.Interpreter is not None
    return {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


class _LiteRt:
    """A .tflite as harexport's own runner runs it: bytes, one thread, variables reset before each window."""

    def __init__(self, content: bytes, output: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        outputs = self._interpreter.get_output_details()
        self._output = next((found for found in outputs if found["name"] == output), outputs[0])
        self.batch = int(self._input["shape"][0])

    def logits(self, windows: Any) -> Any:
        """Up to a batch of windows -> their logits."""
        import numpy as np

        self.ready(windows)()
        answers = self._interpreter.get_tensor(self._output["index"])
        if self._output["dtype"] is not np.float32:
            scale, zero = self._output["quantization"]
            answers = (answers.astype(np.float32) - zero) * scale
        return answers.copy()

    def ready(self, windows: Any) -> Callable[[], object]:
        """The invocation alone; its input is set now, and holds until the next one is."""
        import numpy as np

        filled = np.concatenate([windows, np.repeat(windows[-1:], self.batch - len(windows), axis=0)])
        if self._input["dtype"] is not np.float32:
            scale, zero = self._input["quantization"]
            filled = np.clip(np.rint(filled / scale) + zero, -128, 127).astype(np.int8)
        self._interpreter.reset_all_variables()
        self._interpreter.set_tensor(self._input["index"], filled)
        invoke: Callable[[], object] = self._interpreter.invoke
        return invoke


class _Onnx:
    """A .onnx as harexport's own runner runs it: one thread, default optimisation, the CPU."""

    def __init__(self, content: bytes, output: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]
        names = [value.name for value in self._session.get_outputs()]
        self._output = output if output in names else names[0]
        first = self._input.shape[0]
        self.batch = first if isinstance(first, int) else 1

    def logits(self, windows: Any) -> Any:
        """Up to a batch of windows -> their logits."""
        return self._session.run([self._output], {self._input.name: self._filled(windows)})[0]

    def ready(self, windows: Any) -> Callable[[], object]:
        """The run alone, with input and output bound before."""
        import onnxruntime

        value = onnxruntime.OrtValue.ortvalue_from_numpy(self._filled(windows))
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._input.name, value)
        binding.bind_output(self._output)
        return lambda: self._session.run_with_iobinding(binding)

    def _filled(self, windows: Any) -> Any:
        import numpy as np

        return np.concatenate([windows, np.repeat(windows[-1:], self.batch - len(windows), axis=0)])


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text("utf-8")))), flush=True)
    os._exit(0)  # tearing the runtimes down is slow under emulation, and of no use
