"""Latency: one thread, warmed up, the models of one run interleaved so that the machine's moods hit all alike."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError

_BLOCK = 25  # timed runs of one model in a row: long enough to be warm, short enough to share the noise
_WARM_UP = 5  # untimed runs before each block: the model before it has taken the cache


@dataclass(frozen=True)
class Latency:
    """Per-window latency in microseconds over `runs` single runs: input in, inference, logits out."""

    runs: int
    min: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class ColdStart:
    """In a fresh process, in milliseconds: model file read and made ready, then its first answer.

    The median of `processes` processes; starting Python and importing the runtime are not counted.
    """

    processes: int
    load_ms: float
    first_answer_ms: float


def interleaved(
    models: Mapping[str, Callable[[NDArray[np.float32]], object]],
    windows: NDArray[np.float32],
    runs: int = 1000,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Latency]:
    """Time every model at least `runs` times on windows [n, window, channels], one window a run.

    Blocks of all models alternate in shuffled order (`seed`); every model sees the same windows.
    Raises InputError for runs < 1.
    """
    if runs < 1 or not len(windows):
        raise InputError(f"latency needs at least one run and one window, got {runs} runs and {len(windows)} windows")
    rng = np.random.default_rng(seed)
    singles = [np.ascontiguousarray(windows[i : i + 1]) for i in range(min(len(windows), 256))]
    rounds = -(-runs // _BLOCK)
    times: dict[str, list[int]] = {name: [] for name in models}
    clock = time.perf_counter_ns
    for done in range(rounds):
        block = [singles[int(k)] for k in rng.integers(len(singles), size=_BLOCK)]
        for name in rng.permutation(list(models)):
            model, taken = models[name], times[name]
            for window in block[:_WARM_UP]:
                model(window)
            for window in block:
                began = clock()
                model(window)
                taken.append(clock() - began)
        progress((done + 1) * _BLOCK)
    return {name: _summary(np.array(taken) / 1000) for name, taken in times.items()}


def _summary(microseconds: NDArray[np.float64]) -> Latency:
    p50, p90, p99 = np.percentile(microseconds, [50, 90, 99])
    return Latency(len(microseconds), float(microseconds.min()), float(p50), float(p90), float(p99))


def cold_start(path: Path, processes: int = 3) -> ColdStart:
    """Load `path` (.onnx or .tflite) and answer one window of zeros, each time in a fresh process.

    Raises InputError when the file cannot be loaded.
    """
    took = []
    for _ in range(processes):
        child = subprocess.run(
            # -P: not from the current folder, which may hold another harexport
            [sys.executable, "-P", "-m", "harexport.verify.cold", str(path)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        if child.returncode != 0:
            reason = (child.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"{path} does not start in a fresh process: {reason}")
        took.append(json.loads(child.stdout.splitlines()[-1]))
    load, first = np.median(np.array(took), axis=0)
    return ColdStart(processes, float(load), float(first))
