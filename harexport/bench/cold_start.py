"""Cold start: time and memory of a model's first prediction in a fresh process.

The process runs this module too:
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

from harexport import runtimes
from harexport.errors import HarExportError, InputError

_SECONDS = 120


def measure(
    path: Path,
    window: tuple[int, int],
    *,
    name: str,
    fmt: str,
    output: int,
    has_external_weights: bool = False,
    processes: int = 3,
) -> list[dict[str, float | None]]:
    """Load a model and run one window of zeros, each time in a fresh process.

    Args:
        path: The model file.
        window: (samples, channels) of the input.
        name: The model's name in error messages.
        fmt: "tflite" or "onnx".
        output: Index of the output that holds the prediction.
        has_external_weights: Whether weights are in files beside the model.
        processes: How often to measure.

    Returns:
        Per process: load_ms and first_prediction_ms; base, peak and arena in bytes, None where the system or the format
        has no such figure.

    Raises:
        InputError: The model cannot be loaded in a fresh process, or takes too long.
    """
    figures = []
    for _ in range(processes):
        arguments = [path, fmt, output, int(has_external_weights), *window]
        # -P: the current folder may contain another package named harexport
        command = [sys.executable, "-P", "-m", "harexport.bench.cold_start", *map(str, arguments)]
        try:
            child = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise InputError(f"{name} made no prediction in a fresh process within {_SECONDS} s") from None
        if child.returncode != 0:
            reason = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
            raise InputError(f"{name} does not start in a fresh process: {reason}")
        figures.append(json.loads(child.stdout.splitlines()[-1]))
    return figures


def _main(path: Path, fmt: str, output: int, has_external_weights: bool, window: tuple[int, int]) -> None:
    runtimes.prepare(f"model.{fmt}")  # the import of the runtime is not part of the model's cold start
    zeros = np.zeros((1, *window), np.float32)
    base = _peak_memory()
    start = time.perf_counter()
    model = path.read_bytes()
    source = path if has_external_weights else model
    runner = runtimes.load_bytes(source, f".{fmt}", path.name, output=output)
    loaded = time.perf_counter()
    runner.run_batch(np.repeat(zeros, runner.batch, axis=0) if runner.batch else zeros)
    done = time.perf_counter()
    peak = _peak_memory()
    figures = {
        "load_ms": 1e3 * (loaded - start),
        "first_prediction_ms": 1e3 * (done - loaded),
        "base": base,
        "peak": peak,
        "arena": _arena_bytes(model) if fmt == "tflite" else None,
    }
    print(json.dumps(figures))


def _arena_bytes(model: bytes) -> int | None:
    from harexport.runtimes.litert import arena_bytes

    try:
        return arena_bytes(model)
    except (ValueError, RuntimeError):  # the model needs its delegate
        return None


def _peak_memory() -> int | None:
    """Peak memory of this process in bytes, from Linux's VmHWM; None without /proc.

    getrusage's maximum is inherited from the parent process.
    """
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
