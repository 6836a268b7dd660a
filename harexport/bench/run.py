"""Benchmark models on this machine, and assemble the results of every target."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from harexport.bench import cold_start, divergence, timing
from harexport.bench.candidates import Benchmark, Candidate, prepare_benchmark
from harexport.bench.discovery import FoundModels, ModelUnderTest
from harexport.bench.divergence import Divergence
from harexport.bench.result import BenchResult, ColdStart, ModelResult, Reference, Throughput
from harexport.bench.timing import TimedModel, Timings
from harexport.data.dataset import Dataset
from harexport.errors import InputError
from harexport.evaluation import comparison, environment
from harexport.evaluation.comparison import Predictions
from harexport.evaluation.environment import Conditions
from harexport.evaluation.latency import Latency
from harexport.evaluation.metrics import ClassificationMetrics, find_label_order
from harexport.evaluation.statistics import Interval
from harexport.runtimes.runner import Floats
from harexport.utils.console import info, progress

_LATENCY_WINDOWS = 256
# A permutation of the labels is reported if it explains this share of the windows, and this much more than their order.
_MIN_EXPLAINED, _MIN_GAIN = 0.6, 0.1
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


@dataclass(frozen=True)
class Measurements:
    """Measurements of one model on a target. Fields that a target cannot measure keep their defaults."""

    latency: Latency | None = None
    ratio: Interval | None = None
    threads: dict[str, Latency] = dataclasses.field(default_factory=dict)
    throughput: tuple[Throughput, ...] = ()
    cold_start: ColdStart | None = None
    arena_bytes: int | None = None
    instructions: int | None = None
    notes: tuple[str, ...] = ()


def model_result(
    candidate: Candidate, benchmark: Benchmark, measurements: Measurements, explain: bool = False
) -> ModelResult:
    """Compare a candidate with its reference and combine the result with its measurements.

    Args:
        candidate: The model with its predictions.
        benchmark: All models and references.
        measurements: Of this model.
        explain: Compare its activations with the reference's, even if it is within its tolerance.
    """
    file, labels = candidate.file, benchmark.dataset.test.labels
    predictions, reference = candidate.predictions, benchmark.reference(candidate)
    metrics, calibration_error = comparison.evaluate(predictions, labels)
    compared = comparison.compare(predictions, reference, labels)
    failures = comparison.check_tolerance(compared, candidate.scheme) if candidate.digest is not None else ()
    if predictions.num_nonfinite:
        failures = (f"the predictions of {predictions.num_nonfinite} windows are NaN or infinite",)
    against = benchmark.against_predictions
    if against is not None and against.name in (predictions.name, reference.name):
        against = None
    diverges = failures or explain
    return ModelResult(
        name=candidate.name,
        file=file.path.name if file else None,
        recipe=benchmark.checkpoints[candidate.digest].checkpoint.recipe.name if candidate.digest else None,
        runtime=candidate.runtime,
        scheme=candidate.scheme,
        lowering=file.lowering if file else None,
        has_tolerance=candidate.digest is not None,
        failures=failures,
        size_bytes=file.size_bytes if file else None,
        sha256=hashlib.sha256(file.model).hexdigest() if file else None,
        macs=file.macs.total // (file.batch or 1) if file else None,
        macs_complete=file.macs.complete if file else False,
        figures=metrics,
        calibration_error=calibration_error,
        comparison=None if reference.name == predictions.name or predictions.num_nonfinite else compared,
        against=comparison.compare(predictions, against, labels) if against and metrics else None,
        divergence=_divergence(candidate, benchmark, reference, compared.worst_window) if diverges else None,
        latency=measurements.latency,
        ratio=measurements.ratio,
        threads=measurements.threads,
        throughput=measurements.throughput,
        cold_start=measurements.cold_start,
        arena_bytes=measurements.arena_bytes,
        instructions=measurements.instructions,
        notes=(*(file.notes if file else ()), *_accuracy_notes(metrics, benchmark.labels), *measurements.notes),
    )


def _accuracy_notes(metrics: ClassificationMetrics | None, labels: Sequence[str]) -> list[str]:
    """Return a note if the outputs seem to be in another order than the labels, or the accuracy is that of chance."""
    if metrics is None:
        return []
    order, accuracy = find_label_order(metrics)
    if accuracy < max(_MIN_EXPLAINED, metrics.accuracy + _MIN_GAIN):
        majority = max(sum(row) for row in metrics.confusion) / metrics.windows
        if metrics.accuracy >= _MIN_EXPLAINED or metrics.accuracy > majority:
            return []
        share = f"the share of the most frequent label ({majority:.2%})"
        return [f"its accuracy ({metrics.accuracy:.2%}) is not above {share}"]
    names = [labels[label] for label in order]
    kind = "alphabetical" if names == sorted(labels) else "another"
    return [
        f"its outputs seem to be in {kind} order: {', '.join(names)}. With this order the accuracy is {accuracy:.2%} "
        f"instead of {metrics.accuracy:.2%}"
    ]


def _divergence(candidate: Candidate, benchmark: Benchmark, reference: Predictions, window: int) -> Divergence | None:
    """Compare activations on one window; None if the reference or the file has no float states to compare."""
    file = candidate.file
    digest = next((key for key, predictions in benchmark.references.items() if predictions is reference), None)
    if file is None or digest is None or candidate.scheme not in divergence.SCHEMES:
        return None
    signals: Floats = np.ascontiguousarray(benchmark.dataset.test.signals[window : window + 1])
    network = benchmark.checkpoints[digest].checkpoint.network
    try:
        return divergence.find_divergence(file.model, file.format, candidate.scheme, network, signals, window)
    except Exception as error:  # the errors of the runtimes have no common base class
        info(f"the activations of {candidate.name} cannot be read: {error}")
        return None


def bench_result(
    benchmark: Benchmark,
    models: Sequence[ModelResult],
    *,
    baseline: str | None,
    target: dict[str, Any],
    instructions_unknown: str | None,
    overheads: dict[str, Latency] | None = None,
    conditions: Conditions | None = None,
    threads: int = 1,
) -> BenchResult:
    """Combine the results of all models.

    Args:
        benchmark: All models and references.
        models: Their results.
        baseline: Model that latency ratios are relative to.
        target: Kind of the target, and what is known about it.
        instructions_unknown: Why instructions are not counted; None if they are.
        overheads: Runtime overhead by runtime.
        conditions: State of the machine during the measurement.
        threads: Number of threads of the latency.
    """
    return BenchResult(
        models=tuple(models),
        refused=tuple(benchmark.skipped),
        references=tuple(_reference(benchmark, digest) for digest in benchmark.references),
        labels=benchmark.labels,
        baseline=baseline,
        against=benchmark.against,
        overheads=overheads or {},
        conditions=conditions,
        target=target,
        instructions_unknown=instructions_unknown,
        data={
            "source": benchmark.dataset.source,
            "digest": benchmark.dataset.digest,
            "test_windows": len(benchmark.dataset.test),
        },
        machine={**environment.describe(), "threads": threads},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _reference(benchmark: Benchmark, digest: str) -> Reference:
    path, checkpoint = benchmark.checkpoints[digest].path, benchmark.checkpoints[digest].checkpoint
    network = checkpoint.network
    metrics, calibration_error = comparison.evaluate(benchmark.references[digest], benchmark.dataset.test.labels)
    assert metrics is not None  # candidates.py refuses checkpoints with other predictions
    assert calibration_error is not None
    validation: dict[str, Any] | None = checkpoint.figures.get("validation")
    return Reference(
        recipe=checkpoint.recipe.name,
        checkpoint=path.name,
        digest=checkpoint.digest,
        steps=network.num_steps,
        hidden=network.recurrent_layers[0].hidden if network.recurrent_layers else 0,
        parameters=network.parameters,
        figures=metrics,
        calibration_error=calibration_error,
        labels=checkpoint.contract.labels,
        validation=validation,
        test_watched=bool(checkpoint.figures.get("test_watched")),
    )
