"""Does a file survive its own runtime, and does its answer depend on what came before?

A runtime written in C++ may end the process that a damaged file is loaded into (SIGSEGV, SIGBUS, an endless loop, all
of the memory), so the file is loaded and run in a child: `python -P -m harexport.runtimes.sandbox_worker`.
It prints one JSON line a stage, so that the last line of a child that died says where.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata as installed
from pathlib import Path
from typing import Any

from harexport.formats.model_file import readable

_RUNTIMES = {".tflite": ("LiteRT", "ai-edge-litert"), ".onnx": ("ONNX Runtime", "onnxruntime")}
_SECONDS = 60
_STAGES = {"start": "reading", "load": "loading", "run": "running"}
FELT = 0.01  # of an answer or a state: it is still felt


@dataclass(frozen=True)
class Verdict:
    """What running the file showed.

    error: None where it loads and answers, else one sentence about the file that names no path.
    killed: the child died of it or had to be stopped.
    change: how far the answer to one window (random numbers, A) moved after another one (B), at most, over all
    outputs; None where it was not asked. left: how far a window leaves the variable tensors from where they began,
    None where there are none or operators write them; that is what the next window meets, even if the answers to
    these ones hide it. nan_sticks: whether a window of NaN is still felt three windows later.
    random: whether answers differ by chance. finite: whether the first answer was all numbers. probabilities: the
    outputs that summed up to 1.
    """

    runtime: str
    error: str | None = None
    killed: bool = False
    change: float | None = None
    left: float | None = None
    nan_sticks: bool | None = None
    random: bool = False
    finite: bool = True
    probabilities: tuple[str, ...] = ()

    @property
    def remembers(self) -> bool:
        """Whether an answer depends on the windows before it, or will where these windows did not show it."""
        return not self.random and (bool(self.change) or bool(self.nan_sticks) or (self.left or 0.0) > FELT)


def survives(model: bytes | Path, suffix: str, seconds: float = _SECONDS) -> Verdict:
    """Load and run a model (bytes, or a path where its weights lie in files beside it) in a child process.

    `suffix` is ".onnx" or ".tflite"; `seconds` may pass. Never raises for what is in the file, never dies of it.
    """
    name, package = _RUNTIMES[suffix.lower()]
    runtime = f"{name} {installed.version(package)}"
    # -P: not from the current folder, which may hold another harexport
    command = [sys.executable, "-P", "-m", "harexport.runtimes.sandbox_worker", suffix.lower()]
    if isinstance(model, Path):
        command.append(str(model))
    given = model if isinstance(model, bytes) else b""
    try:
        child = subprocess.run(command, input=given, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        stage = _last(error.stdout or b"").get("stage", "start")
        return Verdict(runtime, f"{runtime} was still {_STAGES[stage]} it after {seconds:.0f} s", killed=True)
    last = _last(child.stdout)
    if found := last.get("verdict"):
        if "error" in found:
            return Verdict(runtime, f"{runtime} {found['error']}")
        return Verdict(runtime, **{**found, "probabilities": tuple(found["probabilities"])})
    stage = last.get("stage", "start")
    if child.returncode < 0:
        with contextlib.suppress(ValueError):
            reason = signal.Signals(-child.returncode).name
            return Verdict(runtime, f"{runtime} dies of it ({reason}) while {_STAGES[stage]} it", killed=True)
    reason = readable((child.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1])[:200]
    return Verdict(runtime, f"{runtime} ends while {_STAGES[stage]} it ({reason})", killed=True)


def _last(output: bytes) -> dict[str, Any]:
    """The last whole line that the child printed."""
    for line in reversed(output.splitlines()):
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    return {}
