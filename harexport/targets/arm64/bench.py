"""`--target arm64`: the same files in Arm builds of the runtimes, emulated: answers and instructions, no times.

Emulated answers are those of a real processor; emulated time means nothing, so executed instructions stand for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harexport.bench import assemble as outcome
from harexport.bench.assemble import Measurements
from harexport.bench.candidates import Candidate, prepare_benchmark
from harexport.bench.discovery import ModelUnderTest
from harexport.bench.result import BenchResult, ModelResult, SkippedModel
from harexport.data.dataset import Dataset, Windows
from harexport.errors import HarExportError, InputError
from harexport.evaluation.comparison import TOLERANCES, Predictions
from harexport.targets.arm64 import emulator, instructions
from harexport.utils.console import progress

SAMPLE = 64
_COUNTED = 3  # windows whose instructions are counted: the median of a number that hardly varies


def bench(
    paths: Sequence[Path], dataset: Dataset, *, against: Path | None = None, windows: int | None = SAMPLE
) -> BenchResult:
    """`verify.bench.bench` on emulated 64-bit Arm: on `windows` test windows, evenly spread, or (None) on all of them.

    On a sample only float32 files can break their promise: those of the other schemes are shares of all windows.
    Raises InputError where the target is not set up, or nothing could be measured on it.
    """
    target = emulator.load()  # before a minute of work
    sample = dataset if windows is None else _sampled(dataset, windows)
    field = prepare_benchmark(paths, sample, against)
    answered: list[Candidate] = []
    measured: dict[str, Measurements] = {}
    refused = list(field.refused)
    entrants = [(candidate, candidate.entrant) for candidate in field.candidates if candidate.entrant]
    with progress("on emulated 64-bit Arm", len(entrants), "files") as advance:
        for done, (candidate, entrant) in enumerate(entrants, 1):
            try:
                answered.append(_answered(candidate, entrant, target, field.dataset))
            except InputError as error:
                refused.append(SkippedModel(entrant.name, str(error)))
            else:
                measured[entrant.name] = _counted(entrant, target, field.dataset)
            advance(done)
    if not answered:
        raise InputError("; ".join(one.reason for one in refused) or "give .onnx or .tflite files: torch is not there")
    field = dataclasses.replace(field, candidates=answered, refused=refused)
    whole = len(sample.test) == len(dataset.test)
    models = [_judged(outcome.model_result(one, field, measured[one.name]), whole) for one in answered]
    versions = ", ".join(f"{name} {version}" for name, version in emulator.facts()["versions"].items())
    return outcome.bench_result(
        field,
        models,
        baseline=None,
        target={"kind": "arm64", "device": f"{emulator.PROCESSOR}, emulated", "versions": versions},
        instructions_unknown=None,
    )


def spread_indices(total: int, count: int | None) -> NDArray[np.intp]:
    """Return the indices of `count` windows evenly spread over `total`; of all windows for None."""
    amount = total if count is None else min(count, total)
    return np.linspace(0, total - 1, amount).round().astype(np.intp)


def _sampled(dataset: Dataset, count: int) -> Dataset:
    """The data set with `count` of its test windows, evenly spread over subjects and activities."""
    test = dataset.test
    chosen = spread_indices(len(test), count)
    part = Windows(np.ascontiguousarray(test.signals[chosen]), test.labels[chosen], test.subjects[chosen], test.hop)
    return dataclasses.replace(dataset, test=part)


def _answered(candidate: Candidate, entrant: ModelUnderTest, target: emulator.Target, dataset: Dataset) -> Candidate:
    """The candidate with the emulated machine's answers. Raises InputError."""
    values = target.answer(entrant.path, dataset.test.signals)
    if values.shape != candidate.answers.values.shape:
        raise InputError(
            f"{entrant.name} answers {list(values.shape)} on 64-bit Arm, here {list(candidate.answers.values.shape)}"
        )
    return dataclasses.replace(candidate, answers=Predictions(candidate.name, candidate.answers.kind, values))


def _counted(entrant: ModelUnderTest, target: emulator.Target, dataset: Dataset) -> Measurements:
    """Its executed instructions a window; where they cannot be counted, a note that says why."""
    windows = np.ascontiguousarray(dataset.test.signals[:_COUNTED])
    try:
        return Measurements(instructions=instructions.instructions(entrant.path, windows, target).median)
    except HarExportError as error:
        return Measurements(notes=(f"its instructions could not be counted: {error}",))


def _judged(model: ModelResult, whole: bool) -> ModelResult:
    """On a sample, without the promises that are about shares of all windows."""
    if whole or not model.promised or TOLERANCES[model.scheme].atol is not None:
        return model
    note = "its promise is a share of all test windows: --windows all judges it"
    return dataclasses.replace(model, promised=False, failures=(), departure=None, notes=(*model.notes, note))
