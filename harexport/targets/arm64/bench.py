"""Benchmark on emulated 64-bit Arm: predictions and executed instructions, but no times.

The predictions are those of a real processor. Emulated times have no meaning, so instructions are counted.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from harexport.bench.candidates import Candidate, prepare_benchmark
from harexport.bench.discovery import FoundModels, ModelUnderTest
from harexport.bench.result import BenchResult, ModelResult, SkippedModel, group_reasons
from harexport.bench.run import Measurements, bench_result, model_result
from harexport.data.dataset import Dataset, Windows
from harexport.errors import HarExportError, InputError
from harexport.evaluation.comparison import TOLERANCES, Predictions
from harexport.targets.arm64 import emulator, instructions
from harexport.utils.console import progress

DEFAULT_WINDOWS = 64
_COUNTED_WINDOWS = 3  # the count hardly varies between windows


def bench(found: FoundModels, dataset: Dataset, *, windows: int | None = DEFAULT_WINDOWS) -> BenchResult:
    """Run files on the emulated processor and compare them with their references.

    Args:
        found: Result of `find_models`.
        dataset: Provides the test windows.
        windows: Number of evenly spaced test windows; None for all. On a sample only float32 files are checked against
            their tolerance: those of the other schemes are shares of all windows.

    Raises:
        InputError: The target is not set up, or no file could be measured.
    """
    target = emulator.load()  # fails before the references are computed
    sample = dataset if windows is None else _sample(dataset, windows)
    benchmark = prepare_benchmark(found, sample)
    candidates: list[Candidate] = []
    measurements: dict[str, Measurements] = {}
    skipped = list(benchmark.skipped)
    files = [(candidate, candidate.file) for candidate in benchmark.candidates if candidate.file]
    with progress("on emulated 64-bit Arm", len(files), "files") as advance:
        for done, (candidate, file) in enumerate(files, 1):
            try:
                candidates.append(_run(candidate, file, target, benchmark.dataset))
            except InputError as error:
                skipped.append(SkippedModel(file.name, str(error)))
            else:
                measurements[file.name] = _count_instructions(file, target, benchmark.dataset)
            advance(done)
    if not candidates:
        raise InputError(
            "; ".join(group_reasons(skipped)) or "give .onnx or .tflite files: the target does not run PyTorch"
        )
    benchmark = dataclasses.replace(benchmark, candidates=candidates, skipped=skipped)
    is_complete = len(sample.test) == len(dataset.test)
    models = [
        _without_share_tolerance(model_result(candidate, benchmark, measurements[candidate.name]), is_complete)
        for candidate in candidates
    ]
    versions = ", ".join(f"{name} {version}" for name, version in emulator.facts()["versions"].items())
    return bench_result(
        benchmark,
        models,
        baseline=None,
        target={"kind": "arm64", "device": f"{emulator.PROCESSOR}, emulated", "versions": versions},
        instructions_unknown=None,
    )


def spread_indices(total: int, count: int | None) -> NDArray[np.intp]:
    """Return the indices of `count` windows evenly spread over `total`; of all windows for None."""
    amount = total if count is None else min(count, total)
    return np.linspace(0, total - 1, amount).round().astype(np.intp)


def _sample(dataset: Dataset, count: int) -> Dataset:
    test = dataset.test
    chosen = spread_indices(len(test), count)
    part = Windows(np.ascontiguousarray(test.signals[chosen]), test.labels[chosen], test.subjects[chosen], test.hop)
    return dataclasses.replace(dataset, test=part)


def _run(candidate: Candidate, file: ModelUnderTest, target: emulator.Target, dataset: Dataset) -> Candidate:
    """Return the candidate with the predictions of the emulated processor. Raises InputError."""
    values = target.run(file.path, dataset.test.signals)
    if values.shape != candidate.predictions.values.shape:
        raise InputError(
            f"{file.name} has predictions of shape {list(values.shape)} on 64-bit Arm, and "
            f"{list(candidate.predictions.values.shape)} on this machine"
        )
    return dataclasses.replace(candidate, predictions=Predictions(candidate.name, candidate.predictions.kind, values))


def _count_instructions(file: ModelUnderTest, target: emulator.Target, dataset: Dataset) -> Measurements:
    windows = np.ascontiguousarray(dataset.test.signals[:_COUNTED_WINDOWS])
    try:
        return Measurements(instructions=instructions.instructions(file.path, windows, target).median)
    except HarExportError as error:
        return Measurements(notes=(f"its instructions could not be counted: {error}",))


def _without_share_tolerance(model: ModelResult, is_complete: bool) -> ModelResult:
    """On a sample, remove the result of tolerances that are shares of all windows."""
    if is_complete or model.figures is None or not model.has_tolerance or TOLERANCES[model.scheme].atol is not None:
        return model
    note = "its tolerance is a share of all test windows; --windows all checks it"
    return dataclasses.replace(model, has_tolerance=False, failures=(), divergence=None, notes=(*model.notes, note))
