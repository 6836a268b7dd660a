"""Measures a converted file: structure, state between runs, accuracy and latency."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.c_kernel.c_kernel import Kernel
from benchmarks.converters import runners
from harexport.data.dataset import Windows
from harexport.errors import InputError
from harexport.evaluation.latency import Latency, time_interleaved
from harexport.model.network import Network
from harexport.utils.console import info, progress

Floats = NDArray[np.float32]
_PAIRS = 16
_TIMED_WINDOWS = 256


@dataclass(frozen=True)
class Measured:
    """Figures of a file as JSON values, and functions to run it."""

    figures: dict[str, Any]
    run: Callable[[Floats], object]
    invoke: Callable[[Floats], int] | None


def measure(path: Path, network: Network, reference: NDArray[np.float64], test: Windows) -> Measured:
    """Measure a file. Raises InputError if its runtime rejects it."""
    model = path.read_bytes()
    runner = runners.ModelRunner(model, path.suffix, (network.window, network.num_channels))
    structure = runners.inspect_file(model, path.suffix)
    logits = runner.logits(test.signals)
    figures = {
        "size_bytes": len(model),
        "sha256": hashlib.sha256(model).hexdigest(),
        "input": runner.input,
        **structure,
        "parity": _parity(reference, logits, test.labels),
        "state": _state(runner, test, logits, bool(structure["variables"])),
        "nan": _after_nan(runner, test.signals),
    }
    return Measured(figures, runner.run, runner.invoke)


def _parity(reference: NDArray[np.float64], logits: Floats, truth: NDArray[np.int64]) -> dict[str, Any]:
    difference, expected, given = np.abs(logits - reference), reference.argmax(axis=1), logits.argmax(axis=1)
    finite = bool(np.isfinite(difference).all())
    return {
        "windows": len(truth),
        "max_logit_difference": float(difference.max()) if finite else None,
        "agreement": float((expected == given).mean()),
        "accuracy": float((given == truth).mean()),
        "drop": 100 * float((expected == truth).mean() - (given == truth).mean()),
    }


def _state(runner: runners.ModelRunner, test: Windows, fresh: Floats, variables: bool) -> dict[str, Any]:
    """Run windows A, B, A without a reset; with variable tensors also all test windows in order, as an app may do."""
    windows = np.ascontiguousarray(test.signals, dtype=np.float32)
    chosen = np.random.default_rng(0).permutation(len(windows))[: 2 * _PAIRS].reshape(_PAIRS, 2)
    difference = 0.0
    for a, b in chosen:
        first = runner.run(windows[a : a + 1]).copy()
        runner.run_keep_state(windows[b : b + 1])
        difference = max(difference, float(np.abs(runner.run_keep_state(windows[a : a + 1]) - first).max()))
    figures: dict[str, Any] = {"a_b_a": difference}
    if variables:
        logits = runner.logits(windows, reset=False)
        figures["in_sequence"] = float(np.abs(logits - fresh).max())
        figures["accuracy_in_sequence"] = float((logits.argmax(axis=1) == test.labels).mean())
    figures["remembers"] = max(difference, figures.get("in_sequence", 0.0)) > 0
    return figures


def _after_nan(runner: runners.ModelRunner, signals: NDArray[Any]) -> dict[str, Any]:
    """Return the logit error after a window of NaN without a reset, and whether all later logits are invalid."""
    windows = np.ascontiguousarray(signals[: 4 * 100 : 100], dtype=np.float32)
    fresh = np.concatenate([runner.run(windows[k : k + 1]).copy() for k in range(len(windows))])
    runner.run(windows[:1])
    runner.run_keep_state(np.full_like(windows[:1], np.nan))
    after = np.concatenate([runner.run_keep_state(windows[k : k + 1]).copy() for k in range(len(windows))])
    stuck = not np.isfinite(after).all() or bool((after == after[0]).all())
    return {"off": float(np.abs(after - fresh).max()) if np.isfinite(after).all() else None, "stuck": stuck}


def build_c_kernels(
    networks: dict[str, Network], references: dict[str, NDArray[np.float64]], test: Windows
) -> dict[str, Any]:
    """The C kernel of every network, checked on all test windows: {name: Kernel, or the reason why there is none}."""
    kernels: dict[str, Any] = {}
    for name, network in networks.items():
        try:
            kernel = Kernel(network)
        except InputError as error:
            kernels[name] = str(error)
            continue
        difference = float(np.abs(kernel.logits(test.signals) - references[name]).max())
        kernels[name] = kernel if difference < 1e-4 else f"its logits differ from the reference by {difference:.1e}"
    return kernels


def time_models(
    files: dict[str, Measured], kernels: dict[str, Any], test: Windows, runs: int
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Measure the latency of all files and C kernels in one interleaved run.

    Returns:
        Latency of each file, called from Python with input and output; for LiteRT also "invoke", the runtime alone. For
        each kernel "through_python", called like the files, and "in_c", measured inside the kernel.
    """
    models: dict[str, Callable[[Floats], object]] = {key: file.run for key, file in files.items()}
    inside: dict[str, list[int]] = {}
    for name, kernel in kernels.items():
        if isinstance(kernel, Kernel):
            models[f"limit {name}"] = kernel.run_batch
            models[f"limit in C {name}"] = _clocked(_in_c(kernel), inside.setdefault(name, []))
    for key, file in files.items():
        if file.invoke is not None:
            models[f"invoke {key}"] = _clocked(file.invoke, inside.setdefault(key, []))
    windows = np.ascontiguousarray(test.signals[:: max(1, len(test.signals) // _TIMED_WINDOWS)], dtype=np.float32)
    info(f"Timing {len(models)} models on one thread, interleaved ...")
    with progress("timing", runs, "runs") as advance:
        timed = time_interleaved(models, windows, runs, progress=advance)
    limit: dict[str, dict[str, Any]] = {}
    for name, kernel in kernels.items():
        if isinstance(kernel, Kernel):
            through = _figures(timed[f"limit {name}"])
            limit[name] = {"lanes": kernel.lanes, "through_python": through, "in_c": _own(inside[name])}
        else:
            limit[name] = {"failure": kernel}
    latency = {key: _figures(timed[key]) for key in files}
    for key in latency.keys() & inside.keys():
        latency[key]["invoke"] = _own(inside[key])
    return latency, limit


def _in_c(kernel: Kernel) -> Callable[[Floats], int]:
    return lambda window: int(kernel.timed(window)[1][0])


def _clocked(nanoseconds: Callable[[Floats], int], taken: list[int]) -> Callable[[Floats], object]:
    return lambda window: taken.append(nanoseconds(window))


def _own(nanoseconds: list[int]) -> dict[str, Any]:
    own = np.array(nanoseconds) / 1000
    return {"runs": len(own), "min": float(own.min()), "p50": float(np.median(own))}


def _figures(latency: Latency) -> dict[str, Any]:
    return {"runs": latency.runs, "min": latency.min, "p50": latency.p50, "p90": latency.p90, "p99": latency.p99}
