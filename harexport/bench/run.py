"""`harexport bench` on this machine: every file against its reference, then all of them against the clock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harexport.bench import assemble as outcome
from harexport.bench import cold_start, timing
from harexport.bench.assemble import Measurements
from harexport.bench.candidates import Candidate, prepare_benchmark
from harexport.bench.discovery import ModelUnderTest
from harexport.bench.result import BenchResult, ColdStart, ModelResult, Reference
from harexport.bench.timing import TimedModel, Timings
from harexport.data.dataset import Dataset
from harexport.errors import InputError
from harexport.evaluation.environment import describe as machine
from harexport.utils.console import progress

__all__ = ["BenchResult", "ModelResult", "Reference", "bench", "machine"]

_LATENCY_WINDOWS = 256
_INSTRUCTIONS = "executed instructions, a proxy for energy, are counted by --target arm64 only"


def bench(
    paths: Sequence[Path],
    dataset: Dataset,
    runs: int = 1000,
    *,
    against: Path | None = None,
    threads: Sequence[int] = (1,),
    explain: Path | None = None,
) -> BenchResult:
    """Prove, compare and time every .onnx and .tflite file and checkpoint in `paths` (files or folders).

    A file that names the network it was exported from is held to what its scheme promises against that checkpoint,
    which must be among `paths` or beside the file, unless `against` (a file or a checkpoint) is given; of other files
    nothing is promised, they are compared. torch joins in where it is installed. `explain`: a file to look inside of.
    Raises InputError when nothing can be measured; a file that cannot stands among `refused`, and broken promises in
    the result.
    """
    field = prepare_benchmark(paths, dataset, against)
    contestants = [TimedModel(c.name, c.runtime, c.batch, c.load) for c in field.candidates]
    signals = np.ascontiguousarray(field.dataset.test.signals[:_LATENCY_WINDOWS])
    timings = timing.time_models(contestants, field.baseline, signals, runs, threads)
    colds: dict[str, tuple[ColdStart, int | None]] = {}
    files = [candidate.entrant for candidate in field.candidates if candidate.entrant]
    with progress("cold start in fresh processes", len(files), "files") as advance:
        for done, entrant in enumerate(files, 1):
            colds[entrant.name] = _cold(entrant, (signals.shape[1], signals.shape[2]))
            advance(done)
    models = []
    for candidate in field.candidates:
        measured = _measured(candidate, timings, *colds.get(candidate.name, (None, None)))
        models.append(outcome.model_result(candidate, field, measured, look_inside=_is(candidate, explain)))
    if explain is not None and not any(model.departure for model in models):
        raise InputError(
            f"--explain {explain.name}: it cannot be looked into; give a measured file in floats or with int8 weights, "
            "and its checkpoint, by --against if it does not name it"
        )
    return outcome.bench_result(
        field,
        models,
        baseline=field.baseline,
        target={"kind": "host"},
        instructions_unknown=_INSTRUCTIONS,
        floors=timings.floors,
        conditions=timings.conditions,
        threads=threads[0],
    )


def _is(candidate: Candidate, path: Path | None) -> bool:
    return path is not None and candidate.entrant is not None and candidate.entrant.path.resolve() == path.resolve()


def _measured(candidate: Candidate, timings: Timings, start: ColdStart | None, arena: int | None) -> Measurements:
    return Measurements(
        latency=timings.latency[candidate.name],
        ratio=timings.ratio[candidate.name],
        threads=timings.threads[candidate.name],
        throughput=timings.throughput[candidate.name],
        cold_start=start,
        arena_bytes=arena,
    )


def _cold(entrant: ModelUnderTest, window: tuple[int, int]) -> tuple[ColdStart, int | None]:
    """What the fresh processes told, by its medians; and the arena."""
    told = cold_start.measure(
        entrant.path,
        window,
        name=entrant.name,
        fmt=entrant.format,
        output=entrant.output,
        has_external_weights=entrant.has_external_weights,
    )

    def middle(key: str, less: str | None = None) -> int | None:
        values = [(one[key], one[less] if less else 0) for one in told]
        known = [value - base for value, base in values if value is not None and base is not None]
        return int(np.median(known)) if known else None

    load, first = (float(np.median([one[key] or 0.0 for one in told])) for key in ("load_ms", "first_answer_ms"))
    return ColdStart(len(told), load, first, middle("peak"), middle("peak", "base")), middle("arena")
