"""Benchmark models on this machine: predictions, latency, memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harexport.bench import cold_start, divergence, timing
from harexport.bench.assemble import Measurements, bench_result, model_result
from harexport.bench.candidates import Benchmark, Candidate, prepare_benchmark
from harexport.bench.discovery import FoundModels, ModelUnderTest
from harexport.bench.result import BenchResult, ColdStart
from harexport.bench.timing import TimedModel, Timings
from harexport.data.dataset import Dataset
from harexport.errors import InputError
from harexport.utils.console import progress

_LATENCY_WINDOWS = 256
_NO_INSTRUCTIONS = "executed instructions, a proxy for energy, are counted by --target arm64 only"


def bench(
    found: FoundModels,
    dataset: Dataset,
    runs: int = 1000,
    *,
    threads: Sequence[int] = (1,),
    explain: Path | None = None,
) -> BenchResult:
    """Compare all models with their references and measure latency, memory and cold start.

    Files that name the network they were exported from are checked against the tolerance of their scheme; other files
    are compared without a tolerance. PyTorch is included if it is installed.

    Args:
        found: Result of `find_models`.
        dataset: Provides the test windows.
        runs: Timed runs per model.
        threads: Numbers of threads; the first is reported as latency.
        explain: File whose activations are compared with the reference's.

    Returns:
        The result, with violated tolerances and skipped files.

    Raises:
        InputError: Nothing can be measured, or `explain` cannot be compared.
    """
    benchmark = prepare_benchmark(found, dataset)
    if explain is not None:
        _check_explain(benchmark, explain)
    timed = [TimedModel(c.name, c.runtime, c.batch, c.load) for c in benchmark.candidates]
    signals = np.ascontiguousarray(benchmark.dataset.test.signals[:_LATENCY_WINDOWS])
    timings = timing.time_models(timed, benchmark.baseline, signals, runs, threads)
    cold_starts: dict[str, tuple[ColdStart, int | None]] = {}
    files = [candidate.file for candidate in benchmark.candidates if candidate.file]
    with progress("cold start in fresh processes", len(files), "files") as advance:
        for done, file in enumerate(files, 1):
            cold_starts[file.name] = _measure_cold_start(file, (signals.shape[1], signals.shape[2]))
            advance(done)
    models = []
    for candidate in benchmark.candidates:
        measurements = _measurements(candidate, timings, *cold_starts.get(candidate.name, (None, None)))
        models.append(model_result(candidate, benchmark, measurements, explain=_is_file(candidate, explain)))
    return bench_result(
        benchmark,
        models,
        baseline=benchmark.baseline,
        target={"kind": "host"},
        instructions_unknown=_NO_INSTRUCTIONS,
        overheads=timings.overheads,
        conditions=timings.conditions,
        threads=threads[0],
    )


def _check_explain(benchmark: Benchmark, path: Path) -> None:
    """Raise InputError if the activations of a file cannot be compared with those of a checkpoint."""
    candidate = next((candidate for candidate in benchmark.candidates if _is_file(candidate, path)), None)
    if candidate is None:
        reasons = [model.reason for model in benchmark.skipped if Path(model.name).name == path.name]
        raise InputError(f"--explain {path}: {reasons[0] if reasons else 'it is not one of the models'}")
    if candidate.scheme not in divergence.SCHEMES:
        schemes = ", ".join(divergence.SCHEMES)
        raise InputError(
            f"--explain {path.name}: the activations of {candidate.scheme} files cannot be compared; choose a file in "
            f"{schemes}"
        )
    if not any(benchmark.reference(candidate) is predictions for predictions in benchmark.references.values()):
        raise InputError(f"--explain {path.name}: the activations cannot be compared without its checkpoint; give it")


def _is_file(candidate: Candidate, path: Path | None) -> bool:
    return path is not None and candidate.file is not None and candidate.file.path.resolve() == path.resolve()


def _measurements(candidate: Candidate, timings: Timings, start: ColdStart | None, arena: int | None) -> Measurements:
    return Measurements(
        latency=timings.latency[candidate.name],
        ratio=timings.ratio[candidate.name],
        threads=timings.threads[candidate.name],
        throughput=timings.throughput[candidate.name],
        cold_start=start,
        arena_bytes=arena,
    )


def _measure_cold_start(file: ModelUnderTest, window: tuple[int, int]) -> tuple[ColdStart, int | None]:
    """Return medians over fresh processes, and the size of the tensor arena in bytes."""
    processes = cold_start.measure(
        file.path,
        window,
        name=file.name,
        fmt=file.format,
        output=file.output,
        has_external_weights=file.has_external_weights,
    )

    def median_bytes(key: str, base: str | None = None) -> int | None:
        values = [(process[key], process[base] if base else 0) for process in processes]
        differences = [value - start for value, start in values if value is not None and start is not None]
        return int(np.median(differences)) if differences else None

    def median_ms(key: str) -> float:
        return float(np.median([process[key] or 0.0 for process in processes]))

    start = ColdStart(
        processes=len(processes),
        load_ms=median_ms("load_ms"),
        first_prediction_ms=median_ms("first_prediction_ms"),
        peak_bytes=median_bytes("peak"),
        model_bytes=median_bytes("peak", "base"),
    )
    return start, median_bytes("arena")
