"""Program of the emulated machine, whose Python has NumPy and the runtimes but not harexport.

    python3 guest.py JOB.json

JOB has the runtime, the model, a file of raw float32 windows and their shape. Logits are written to the file "logits";
QEMU's log of executed blocks is written to the file "log" while the windows are run again. The last line on standard
output is the response as JSON.
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
    """Run a job, as described above."""
    log = _log() if job.get("log") else None  # before anything else opens a file
    import numpy as np

    if "model" not in job:
        return _versions()
    windows = np.fromfile(job["windows"], dtype="<f4").reshape(job["shape"])
    try:
        model = (_LiteRt if job["runtime"] == "litert" else _Onnx)(Path(job["model"]).read_bytes(), job["output"])
        batches = [model.logits(windows[k : k + model.batch]) for k in range(0, len(windows), model.batch)]
    except Exception as error:  # the errors of the runtimes have no common base class
        return {"error": (str(error).strip().splitlines() or [type(error).__name__])[-1]}
    logits = np.concatenate(batches)[: len(windows)]
    if job.get("logits"):
        logits.astype("<f4").tofile(job["logits"])
    result: dict[str, Any] = {"labels": int(logits.shape[1]), "batch": model.batch}
    if log is not None:
        _record(log, job["log"], model, windows)
        result["code"] = _code()
    return result


def _record(log: int, path: str, model: _LiteRt | _Onnx, windows: Any) -> None:
    """Run each window again, with QEMU's log in `path` and marks around the inference.

    The guest shares the descriptor `log` of QEMU's log file. Redirecting it switches logging on and off, so the
    start-up, which is a hundred times the work, goes to /dev/null. Starting the first thread makes QEMU discard its
    translations (unless shared memory was mapped before), so that the lengths of all blocks are logged again.
    """
    _redirect(log, path)
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    os.write(log, WARM)
    model.prepare(windows[:1])()
    for window in windows:
        call = model.prepare(window[None])
        os.write(log, EMPTY)
        os.write(log, BEGIN)
        call()
        os.write(log, END)
    _redirect(log, _NULL)


def _log() -> int:
    """Return the descriptor of QEMU's log, which is /dev/null at first (`-D /dev/null`)."""
    for link in Path("/proc/self/fd").iterdir():
        if int(link.name) > 2 and os.path.lexists(link) and str(link.readlink()) == _NULL:
            return int(link.name)
    raise RuntimeError("QEMU's log is not among the open files")


def _redirect(descriptor: int, path: str) -> None:
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(opened, descriptor)
    os.close(opened)


def _code() -> list[tuple[int, int, str]]:
    """Return the executable memory ranges: begin, end, file name."""
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
    """Runs a .tflite as harexport's runner does: one thread, variables reset before each window."""

    def __init__(self, content: bytes, output: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        outputs = self._interpreter.get_output_details()
        self._output = next((found for found in outputs if found["name"] == output), outputs[0])
        self.batch = int(self._input["shape"][0])

    def logits(self, windows: Any) -> Any:
        """Run at most one batch of windows and return the logits."""
        import numpy as np

        self.prepare(windows)()
        logits = self._interpreter.get_tensor(self._output["index"])
        if self._output["dtype"] is not np.float32:
            scale, zero = self._output["quantization"]
            logits = (logits.astype(np.float32) - zero) * scale
        return logits.copy()

    def prepare(self, windows: Any) -> Callable[[], object]:
        """Set the input and return the call of the inference alone."""
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
    """Runs a .onnx as harexport's runner does: one thread, default optimization, CPU."""

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
        """Run at most one batch of windows and return the logits."""
        return self._session.run([self._output], {self._input.name: self._fill_batch(windows)})[0]

    def prepare(self, windows: Any) -> Callable[[], object]:
        """Bind input and output and return the call of the inference alone."""
        import onnxruntime

        value = onnxruntime.OrtValue.ortvalue_from_numpy(self._fill_batch(windows))
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._input.name, value)
        binding.bind_output(self._output)
        return lambda: self._session.run_with_iobinding(binding)

    def _fill_batch(self, windows: Any) -> Any:
        import numpy as np

        return np.concatenate([windows, np.repeat(windows[-1:], self.batch - len(windows), axis=0)])


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text("utf-8")))), flush=True)
    os._exit(0)  # the teardown of the runtimes is slow under emulation
