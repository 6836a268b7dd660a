"""Load and run a model in a subprocess; detect crashes and hidden state.

A damaged or hostile file can end the process that reads or loads it (SIGSEGV, SIGBUS, an endless loop, exhausted
memory), so a child process does that first: `python -P -m harexport.runtimes.sandbox_worker`. The child prints one JSON
line per stage, so that the last line of a child that was killed names the stage.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from harexport.errors import InputError
from harexport.formats import identify_format, read_model
from harexport.formats.model_file import ModelFile, sanitize
from harexport.runtimes import RUNTIMES

_PACKAGES = {"tflite": "ai-edge-litert", "onnx": "onnxruntime"}
_SECONDS = 60
_STAGES = {"start": "starting", "read": "reading", "load": "loading", "run": "running"}
STATE_TOLERANCE = 0.01  # an output or a state that differs by less does not depend on earlier windows


@dataclass(frozen=True)
class SandboxResult:
    """What a run in a subprocess shows."""

    runtime: str  # name and version
    error: str | None = None  # one sentence without a path; None where the model loads and runs
    killed: bool = False  # whether the child crashed or ran out of time
    is_readable: bool = True  # whether the child could read the file within its limits of time and memory
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
            "left": self.state_residual,
            "nan_sticks": self.nan_persists,
            "random": self.is_random,
            "finite": self.is_finite,
            "probabilities": list(self.probabilities),
        }


def run_sandboxed(
    model: bytes, suffix: str, path: Path | None = None, *, run: bool = True, seconds: float = _SECONDS
) -> SandboxResult:
    """Read a model in a child process with limits of time and memory, then load and run it there.

    Args:
        model: The file's bytes.
        suffix: ".onnx" or ".tflite".
        path: The file, to find weights in files beside it.
        run: Whether to load and run the model, too.
        seconds: Time limit of the child.

    Returns:
        The result; whatever the file contains, this process neither raises nor crashes.
    """
    fmt = suffix.lower().removeprefix(".")
    runtime = f"{RUNTIMES[fmt]} {metadata.version(_PACKAGES[fmt])}"
    # -P: the current folder may contain another package named harexport
    command = [sys.executable, "-P", "-m", "harexport.runtimes.sandbox_worker", suffix.lower(), str(int(run))]
    command += [str(path.resolve())] if path else []
    try:
        child = subprocess.run(command, input=model, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        stage = _last_line(error.stdout or b"").get("stage", "start")
        message = f"{runtime} was still {_STAGES[stage]} it after {seconds:.0f} s"
        return SandboxResult(runtime, message, killed=True, is_readable=stage != "read")
    last = _last_line(child.stdout)
    if found := last.get("result"):
        if "error" in found:
            return SandboxResult(runtime, f"{runtime} {found['error']}")
        return SandboxResult(runtime, **{**found, "probabilities": tuple(found.get("probabilities", ()))})
    stage = last.get("stage", "start")
    if child.returncode < 0:
        with contextlib.suppress(ValueError):
            reason = signal.Signals(-child.returncode).name
            message = f"{runtime} crashes while {_STAGES[stage]} it ({reason})"
            return SandboxResult(runtime, message, killed=True, is_readable=stage != "read")
    reason = sanitize((child.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1])[:200]
    message = f"{runtime} ends while {_STAGES[stage]} it ({reason})"
    return SandboxResult(runtime, message, killed=True, is_readable=stage != "read")


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
    result = run_sandboxed(model, f".{identify_format(model, name)}", path, run=run)
    if not result.is_readable:
        raise InputError(f"{name} is damaged: reading it takes too much time or memory; get or export it again")
    return read_model(model, name, path.parent), result


def check_runs(model: bytes, name: str, path: Path) -> None:
    """Raise InputError unless a child process can read, load and run a model file of unknown origin."""
    _, result = read_sandboxed(model, name, path)
    if result.error:
        raise InputError(f"{name}: {result.error.rstrip('.')}; export it again")


def _last_line(output: bytes) -> dict[str, Any]:
    """The last complete JSON line of the child."""
    for line in reversed(output.splitlines()):
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    return {}
