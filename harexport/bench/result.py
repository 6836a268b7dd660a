"""What a bench answers: one frozen object. Tables, JSON, HTML and Markdown are drawn from it and from nothing else."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from harexport.bench.divergence import Divergence
from harexport.evaluation import metrics
from harexport.evaluation.comparison import Comparison
from harexport.evaluation.environment import Conditions
from harexport.evaluation.latency import Latency
from harexport.evaluation.statistics import Interval
from harexport.version import __version__

SCHEMA = "harexport-bench-2"


@dataclass(frozen=True)
class ColdStart:
    """In a fresh process, in milliseconds: model file read and made ready, then its first answer.

    Medians over `processes` processes; starting Python and importing the runtime are not counted. Bytes: the largest
    memory of the process, and how much of it came with the model. None where the system does not tell.
    """

    processes: int
    load_ms: float
    first_answer_ms: float
    peak_bytes: int | None
    model_bytes: int | None


@dataclass(frozen=True)
class Throughput:
    """Windows a second when it is asked `batch` at a time, one after the other."""

    batch: int
    windows_per_second: float


@dataclass(frozen=True)
class ModelResult:
    """One model in one runtime.

    failures: broken promises, in words; `promised` False: nothing was promised of it, so it cannot fail. file, size,
    cold start, MACs are a file's; torch, the trainer, has none. macs: of one window, None where the file does not say
    all (macs_complete False: at least so many). arena_bytes: what litert.arena_bytes says; None for ONNX. figures and
    comparison are None on targets that were not asked all windows; latency is None where time means nothing (arm64).
    ratio: the median of the times in those of the result's baseline. threads: latency by further thread counts.
    """

    name: str
    file: str | None
    recipe: str | None
    runtime: str
    scheme: str
    lowering: str | None
    promised: bool
    failures: tuple[str, ...]
    size_bytes: int | None
    sha256: str | None
    macs: int | None
    macs_complete: bool
    arena_bytes: int | None
    figures: metrics.ClassificationMetrics | None
    calibration_error: float | None
    comparison: Comparison | None
    against: Comparison | None
    latency: Latency | None
    ratio: Interval | None
    threads: dict[str, Latency]
    throughput: tuple[Throughput, ...]
    cold_start: ColdStart | None
    instructions: int | None
    departure: Divergence | None
    notes: tuple[str, ...]

    @property
    def macs_per_second(self) -> float | None:
        return self.macs / self.latency.p50 * 1e6 if self.macs and self.latency else None


@dataclass(frozen=True)
class SkippedModel:
    """A file that could not be measured, and why in one sentence."""

    name: str
    reason: str


@dataclass(frozen=True)
class Reference:
    """What a recipe's checkpoint itself answers, in float64."""

    recipe: str
    checkpoint: str
    digest: str
    steps: int
    hidden: int
    parameters: int
    figures: metrics.ClassificationMetrics
    calibration_error: float
    labels: tuple[str, ...]
    validation: dict[str, Any] | None
    test_watched: bool


@dataclass(frozen=True)
class Violation:
    """A rule of --fail-if that a model broke, in words."""

    model: str
    rule: str
    reason: str


@dataclass(frozen=True)
class ThresholdReport:
    """What --fail-if asked, and what came of it. notes: what could not be judged, and what came near."""

    rules: tuple[str, ...]
    compared_with: str
    broken: tuple[Violation, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class BenchResult:
    """Everything a bench measured.

    target: {"kind": "host", "arm64" or "adb", and what is known of it}. baseline: the model whose time `ratio` is in.
    floors: the machine's floor, by runtime. conditions: how the machine was; None where nothing was timed on it.
    instructions_unknown: why there are no executed instructions, None where there are.
    """

    models: tuple[ModelResult, ...]
    refused: tuple[SkippedModel, ...]
    references: tuple[Reference, ...]
    labels: tuple[str, ...]
    baseline: str | None
    against: str | None
    floors: dict[str, Latency]
    conditions: Conditions | None
    target: dict[str, Any]
    instructions_unknown: str | None
    data: dict[str, Any]
    machine: dict[str, Any]
    created: str
    gate: ThresholdReport | None = None
    tool_version: str = __version__

    @property
    def passed(self) -> bool:
        """No promise and no rule was broken."""
        return not any(model.failures for model in self.models) and not (self.gate and self.gate.broken)

    @property
    def exit_code(self) -> int:
        """2 where a file could not be measured, 1 where something was broken, else 0."""
        return 2 if self.refused else int(not self.passed)

    def model(self, name: str) -> ModelResult:
        return next(model for model in self.models if model.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as schema.json describes them."""
        plain = dataclasses.asdict(self)
        for model, held in zip(plain["models"], self.models, strict=True):
            model["macs_per_second"] = held.macs_per_second
            model["comparison"] = held.comparison.to_dict() if held.comparison else None
            model["against"] = held.against.to_dict() if held.against else None
            if model["departure"]:
                model["departure"]["says"] = model["departure"].pop("summary")
            if held.departure:
                model["departure"]["says"] = model["departure"].pop("summary")
        return {"schema": SCHEMA, "passed": self.passed, **plain}
