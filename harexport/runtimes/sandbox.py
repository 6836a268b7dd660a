"""Load and run a model in a subprocess; detect crashes and hidden state.

A damaged file can end the process that loads it (SIGSEGV, SIGBUS, an endless loop, exhausted memory), so a child
process loads it: `python -P -m harexport.runtimes.sandbox_worker`. The child prints one JSON line per stage, so that
the last line of a child that was killed names the stage.
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

from harexport.formats.model_file import sanitize
from harexport.runtimes import RUNTIMES

_PACKAGES = {"tflite": "ai-edge-litert", "onnx": "onnxruntime"}
_SECONDS = 60
_STAGES = {"start": "reading", "load": "loading", "run": "running"}
STATE_TOLERANCE = 0.01  # an output or a state that differs by less does not depend on earlier windows


@dataclass(frozen=True)
class SandboxResult:
    """What a run in a subprocess shows."""

    runtime: str  # name and version
    error: str | None = None  # one sentence without a path; None where the model loads and runs
    killed: bool = False  # whether the child crashed or ran out of time
    change: float | None = None  # largest change of any output to a window (A) after another one (B)
    state_residual: float | None = None  # distance of the variables from their initial values; None without variables
    nan_persists: bool | None = None  # whether a window of NaN still changes the output three windows later
    is_random: bool = False  # whether outputs differ by chance
    is_finite: bool = True  # whether all outputs to the first window are finite
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


def run_sandboxed(model: bytes | Path, suffix: str, seconds: float = _SECONDS) -> SandboxResult:
    """Load and run a model in a child process.

    Args:
        model: The file's bytes, or its path where the weights are in files beside it.
        suffix: ".onnx" or ".tflite".
        seconds: Time limit of the child.

    Returns:
        The result; whatever the file contains, this process neither raises nor crashes.
    """
    fmt = suffix.lower().removeprefix(".")
    runtime = f"{RUNTIMES[fmt]} {metadata.version(_PACKAGES[fmt])}"
    # -P: the current folder may contain another package named harexport
    command = [sys.executable, "-P", "-m", "harexport.runtimes.sandbox_worker", suffix.lower()]
    if isinstance(model, Path):
        command.append(str(model))
    stdin = model if isinstance(model, bytes) else b""
    try:
        child = subprocess.run(command, input=stdin, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        stage = _last_line(error.stdout or b"").get("stage", "start")
        return SandboxResult(runtime, f"{runtime} was still {_STAGES[stage]} it after {seconds:.0f} s", killed=True)
    last = _last_line(child.stdout)
    if found := last.get("result"):
        if "error" in found:
            return SandboxResult(runtime, f"{runtime} {found['error']}")
        return SandboxResult(runtime, **{**found, "probabilities": tuple(found["probabilities"])})
    stage = last.get("stage", "start")
    if child.returncode < 0:
        with contextlib.suppress(ValueError):
            reason = signal.Signals(-child.returncode).name
            return SandboxResult(runtime, f"{runtime} crashes while {_STAGES[stage]} it ({reason})", killed=True)
    reason = sanitize((child.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1])[:200]
    return SandboxResult(runtime, f"{runtime} ends while {_STAGES[stage]} it ({reason})", killed=True)


def _last_line(output: bytes) -> dict[str, Any]:
    """The last complete JSON line of the child."""
    for line in reversed(output.splitlines()):
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    return {}
