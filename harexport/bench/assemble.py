"""From answers and measurements to the result object, the same way on every target."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from harexport.bench import divergence
from harexport.bench.candidates import Benchmark, Candidate
from harexport.bench.divergence import Divergence
from harexport.bench.result import BenchResult, ColdStart, ModelResult, Reference, Throughput
from harexport.evaluation import comparison
from harexport.evaluation.comparison import Comparison, Predictions
from harexport.evaluation.environment import Conditions
from harexport.evaluation.environment import describe as machine
from harexport.evaluation.latency import Latency
from harexport.evaluation.statistics import Interval
from harexport.runtimes import Floats
from harexport.utils.console import info


@dataclass(frozen=True)
class Measurements:
    """What a target found out about a model, besides its answers; a target leaves out what it cannot tell."""

    latency: Latency | None = None
    ratio: Interval | None = None
    threads: dict[str, Latency] = dataclasses.field(default_factory=dict)
    throughput: tuple[Throughput, ...] = ()
    cold_start: ColdStart | None = None
    arena_bytes: int | None = None
    instructions: int | None = None
    notes: tuple[str, ...] = ()


def model_result(
    candidate: Candidate, field: Benchmark, measured: Measurements, look_inside: bool = False
) -> ModelResult:
    """A candidate's answers compared, its promise judged. Where that is broken, or to `look_inside`, its states are
    compared with the reference's too."""
    entrant, truth = candidate.entrant, field.dataset.test.labels
    answers, reference, other = candidate.answers, field.reference(candidate), field.other
    figures, calibration = comparison.evaluate(answers, truth)
    compared = comparison.compare(answers, reference, truth)
    failures = comparison.check_tolerance(compared, candidate.scheme) if candidate.digest is not None else ()
    return ModelResult(
        name=candidate.name,
        file=entrant.path.name if entrant else None,
        recipe=field.known[candidate.digest].checkpoint.recipe.name if candidate.digest else None,
        runtime=candidate.runtime,
        scheme=candidate.scheme,
        lowering=entrant.lowering if entrant else None,
        promised=candidate.digest is not None,
        failures=failures,
        size_bytes=entrant.size_bytes if entrant else None,
        sha256=hashlib.sha256(entrant.model).hexdigest() if entrant else None,
        macs=entrant.macs.total // (entrant.batch or 1) if entrant else None,
        macs_complete=entrant.macs.complete if entrant else False,
        figures=figures,
        calibration_error=calibration,
        comparison=None if reference.name == answers.name else compared,
        against=_against(answers, reference, other, field),
        departure=_departure(candidate, field, reference, compared.worst_window) if failures or look_inside else None,
        latency=measured.latency,
        ratio=measured.ratio,
        threads=measured.threads,
        throughput=measured.throughput,
        cold_start=measured.cold_start,
        arena_bytes=measured.arena_bytes,
        instructions=measured.instructions,
        notes=(*(entrant.notes if entrant else ()), *measured.notes),
    )


def _against(
    answers: Predictions, reference: Predictions, other: Predictions | None, field: Benchmark
) -> Comparison | None:
    """The comparison with --against, where that is another one than with the reference."""
    if other is None or other.name in (answers.name, reference.name):
        return None
    return comparison.compare(answers, other, field.dataset.test.labels)


def _departure(candidate: Candidate, field: Benchmark, reference: Predictions, worst: int) -> Divergence | None:
    """Where the file leaves its reference, on the window where it is furthest off; None where that cannot be seen."""
    entrant = candidate.entrant
    digest = next((digest for digest, answers in field.expected.items() if answers is reference), None)
    if entrant is None or digest is None or candidate.scheme not in divergence.SCHEMES:
        return None
    window: Floats = np.ascontiguousarray(field.dataset.test.signals[worst : worst + 1])
    network = field.known[digest].checkpoint.network
    try:
        return divergence.find_divergence(entrant.model, entrant.format, candidate.scheme, network, window, worst)
    except Exception as error:  # a runtime that does not want to be looked into
        info(f"{candidate.name} cannot be looked into: {error}")
        return None


def bench_result(
    field: Benchmark,
    models: Sequence[ModelResult],
    *,
    baseline: str | None,
    target: dict[str, Any],
    instructions_unknown: str | None,
    floors: dict[str, Latency] | None = None,
    conditions: Conditions | None = None,
    threads: int = 1,
) -> BenchResult:
    """Everything in one object. `threads`: of the latency that is compared."""
    return BenchResult(
        models=tuple(models),
        refused=tuple(field.refused),
        references=tuple(_reference(field, digest) for digest in field.expected),
        labels=field.labels,
        baseline=baseline,
        against=field.against,
        floors=floors or {},
        conditions=conditions,
        target=target,
        instructions_unknown=instructions_unknown,
        data={
            "source": field.dataset.source,
            "digest": field.dataset.digest,
            "test_windows": len(field.dataset.test),
        },
        machine={**machine(), "threads": threads},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _reference(field: Benchmark, digest: str) -> Reference:
    path, checkpoint = field.known[digest].path, field.known[digest].checkpoint
    network = checkpoint.network
    figures, calibration = comparison.evaluate(field.expected[digest], field.dataset.test.labels)
    validation: dict[str, Any] | None = checkpoint.figures.get("validation")
    return Reference(
        recipe=checkpoint.recipe.name,
        checkpoint=path.name,
        digest=checkpoint.digest,
        steps=network.num_steps,
        hidden=network.recurrent_layers[0].hidden,
        parameters=network.parameters,
        figures=figures,
        calibration_error=calibration or 0.0,
        labels=checkpoint.contract.labels,
        validation=validation,
        test_watched=bool(checkpoint.figures.get("test_watched")),
    )
