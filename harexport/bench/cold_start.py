"""Cold start: a model's first answer in a process that has just begun, and what it costs in memory.

This module is also what runs there:
`python -P -m harexport.bench.cold_start PATH FORMAT OUTPUT EXTERNAL SAMPLES CHANNELS`.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from harexport.errors import HarExportError, InputError
from harexport.runtimes.asking import Asked, File, arena_bytes

_SECONDS = 120


def measure(path: Path, file: File, window: tuple[int, int], processes: int = 3) -> list[dict[str, float | None]]:
    """Load `path` and answer one window [samples, channels] of zeros, each time in a fresh process.

    Answers what each process told: load_ms, first_answer_ms, and base, peak and arena in bytes, None where the system
    or the format has none. Raises InputError when the file cannot be loaded there.
    """
    told = []
    for _ in range(processes):
        # -P: not from the current folder, which may hold another harexport
        arguments = [path, file.format, file.output, int(file.path is not None), *window]
        command = [sys.executable, "-P", "-m", "harexport.bench.cold_start", *map(str, arguments)]
        try:
            child = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise InputError(f"{file.name} had not answered in a fresh process after {_SECONDS} s") from None
        if child.returncode != 0:
            reason = (child.stderr.strip().splitlines() or [f"it ended with {child.returncode}"])[-1]
            raise InputError(f"{file.name} does not start in a fresh process: {reason}")
        told.append(json.loads(child.stdout.splitlines()[-1]))
    return told


def _main(path: Path, fmt: str, output: int, external: bool, window: tuple[int, int]) -> None:
    if fmt == "onnx":  # the runtime's own import is not the model's cold start
        import onnxruntime  # noqa: F401
    else:
        import ai_edge_litert.interpreter  # noqa: F401

        from harexport.formats import tflite_builder  # noqa: F401
        from harexport.runtimes import litert  # noqa: F401
    zeros = np.zeros((1, *window), np.float32)
    base = _largest_memory()
    began = time.perf_counter()
    model = path.read_bytes()
    asked = Asked(model, File(path.name, fmt, output, path if external else None))
    loaded = time.perf_counter()
    asked.one(np.repeat(zeros, asked.batch, axis=0) if asked.batch else zeros)
    answered = time.perf_counter()
    peak = _largest_memory()
    figures = {
        "load_ms": 1e3 * (loaded - began),
        "first_answer_ms": 1e3 * (answered - loaded),
        "base": base,
        "peak": peak,
        "arena": _arena(model) if fmt == "tflite" else None,
    }
    print(json.dumps(figures))


def _arena(model: bytes) -> int | None:
    try:
        return arena_bytes(model)
    except (ValueError, RuntimeError):  # runs by its delegate only
        return None


def _largest_memory() -> int | None:
    """The most memory this process ever had, in bytes. Linux's VmHWM, because getrusage's maximum is handed down from
    the process that started this one; where there is no /proc, nothing."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    return None


if __name__ == "__main__":
    try:
        _main(
            Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1", (int(sys.argv[5]), int(sys.argv[6]))
        )
    except HarExportError as error:
        sys.exit(str(error))
