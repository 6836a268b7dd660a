"""Runners: one class per runtime, all with the same interface (runner.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harexport.formats import read_model_bytes
from harexport.model.contract import LOGITS_NAME
from harexport.runtimes.runner import Runner, check_suffix


def prepare(path: Path | str) -> None:
    """Import the runtime that `path` needs, so that a later `load` measures the model alone. Raises InputError."""
    path = Path(path)
    _runner_class(path.suffix, str(path))


def load(path: Path | str) -> Runner:
    """Load a .onnx or .tflite file that harexport exported. Raises InputError."""
    path = Path(path)
    _runner_class(path.suffix, str(path))
    # Read into memory: LiteRT maps a file given by its path, and a truncated one then ends the process (SIGBUS).
    return load_bytes(read_model_bytes(path), path.suffix, str(path))


def load_bytes(
    model: bytes | Path, suffix: str, name: str, *, threads: int = 1, output: str | int = LOGITS_NAME
) -> Runner:
    """Build the runner for a model in memory.

    Args:
        model: The file's bytes. The path of a .onnx file whose weights are in files beside it.
        suffix: ".onnx" or ".tflite".
        name: The model's name in error messages.
        threads: Threads of the runtime.
        output: Name of the output that holds the logits, or its index for third-party files.

    Raises:
        InputError: The runtime cannot load the model, or its input is no window.
    """
    return _runner_class(suffix, name)(model, name, threads=threads, output=output)


def _runner_class(suffix: str, name: str) -> Callable[..., Runner]:
    check_suffix(suffix, name)
    if suffix.lower() == ".onnx":
        from harexport.runtimes.onnx import OnnxRunner

        return OnnxRunner
    from harexport.runtimes.litert import LiteRtRunner

    return LiteRtRunner
