"""Result of a benchmark: one frozen object, from which JSON, tables, Markdown and HTML are made.

The attributes have the names of the JSON keys (schema.json).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harexport.bench.divergence import Divergence
from harexport.evaluation.comparison import Comparison
from harexport.evaluation.environment import Conditions
from harexport.evaluation.latency import Latency
from harexport.evaluation.metrics import ClassificationMetrics
from harexport.evaluation.statistics import Interval
from harexport.version import __version__

SCHEMA = "harexport-bench-3"


@dataclass(frozen=True)
class ColdStart:
    """Load and first prediction in a fresh process; medians over processes.

    The start of Python and the import of the runtime are not included. Bytes are None where the system does not report
    them.

    Attributes:
        processes: Number of processes.
        load_ms: Time to read the file and build the runner.
        first_prediction_ms: Time of the first prediction.
        peak_bytes: Peak memory of the process.
        model_bytes: Part of it caused by the model.
    """

    processes: int
    load_ms: float
    first_prediction_ms: float
    peak_bytes: int | None
    model_bytes: int | None


@dataclass(frozen=True)
class Throughput:
    """Windows per second with `batch` windows per call, one call after the other."""

    batch: int
    windows_per_second: float


@dataclass(frozen=True)
class ModelResult:
    """Result of one model in one runtime.

    Attributes:
        name: Unique name.
        file: File name; None for PyTorch, as all attributes of a file.
        recipe: Recipe of its checkpoint.
        runtime: Name of the runtime.
        scheme: Quantization scheme, or "torch".
        lowering: Lowering of the recurrent layers, from the metadata.
        has_tolerance: Whether the tolerance of its scheme applies.
        failures: Limits of the tolerance that are exceeded.
        size_bytes: Size with weights beside the file.
        sha256: Checksum of the file.
        macs: Multiply-accumulates of one window.
        macs_complete: False if some operators could not be counted.
        arena_bytes: Memory of all tensors that are not constants; None for ONNX.
        figures: Classification metrics; None if not all windows were run.
        calibration_error: Expected calibration error.
        comparison: Comparison with the reference; None for the reference itself.
        against: Comparison with --against, if that is not the reference.
        latency: Latency per window; None on emulated targets.
        ratio: Median latency relative to the baseline of the result.
        threads: Latency by further numbers of threads.
        throughput: By batch size.
        cold_start: In fresh processes.
        instructions: Executed instructions per window.
        divergence: Divergence of the activations from the reference.
        notes: Remarks.
    """

    name: str
    file: str | None
    recipe: str | None
    runtime: str
    scheme: str
    lowering: str | None
    has_tolerance: bool
    failures: tuple[str, ...]
    size_bytes: int | None
    sha256: str | None
    macs: int | None
    macs_complete: bool
    arena_bytes: int | None
    figures: ClassificationMetrics | None
    calibration_error: float | None
    comparison: Comparison | None
    against: Comparison | None
    latency: Latency | None
    ratio: Interval | None
    threads: dict[str, Latency]
    throughput: tuple[Throughput, ...]
    cold_start: ColdStart | None
    instructions: int | None
    divergence: Divergence | None
    notes: tuple[str, ...]

    @property
    def macs_per_second(self) -> float | None:
        return self.macs / self.latency.p50 * 1e6 if self.macs and self.latency else None


@dataclass(frozen=True)
class SkippedModel:
    """A file that could not be measured, with the reason."""

    name: str
    reason: str


def group_reasons(skipped: Sequence[SkippedModel]) -> list[str]:
    """Return the reasons in which equal ones of several models are combined."""
    names_of: dict[str, list[str]] = {}
    for model in skipped:
        name = model.name if model.reason.startswith(model.name) else ""
        names_of.setdefault(model.reason.removeprefix(name), []).append(name)
    return [f"{', '.join(filter(None, names))}{reason}" for reason, names in names_of.items()]


@dataclass(frozen=True)
class Reference:
    """A checkpoint and its float64 predictions on the test set."""

    recipe: str
    checkpoint: str
    digest: str
    steps: int
    hidden: int
    parameters: int
    figures: ClassificationMetrics
    calibration_error: float
    labels: tuple[str, ...]
    validation: dict[str, Any] | None
    test_watched: bool


@dataclass(frozen=True)
class Violation:
    """A rule of --fail-if that a model meets."""

    model: str
    rule: str
    reason: str


@dataclass(frozen=True)
class ThresholdReport:
    """Result of --fail-if.

    Attributes:
        rules: The rules.
        compared_with: Name of the baseline; empty if no rule needs one.
        violations: Rules that are met.
        notes: Rules that are nearly met, and differences to the baseline.
    """

    rules: tuple[str, ...]
    compared_with: str
    violations: tuple[Violation, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class BenchResult:
    """Everything a benchmark measured.

    Attributes:
        models: Measured models.
        refused: Files that could not be measured.
        references: Checkpoints that served as references.
        labels: Names of the labels.
        baseline: Model that latency ratios are relative to.
        against: Name of the --against model.
        overheads: Overhead of the runtimes, by runtime.
        conditions: State of the machine; None if no time was measured on it.
        target: {"kind": "host", "arm64" or "adb"} and what is known about the target.
        instructions_unknown: Why instructions are not counted; None if they are.
        data: Source and digest of the data, number of test windows.
        machine: Processor, system and versions.
        created: Time in UTC, ISO 8601.
        thresholds: Result of --fail-if.
        tool_version: Version of harexport.
    """

    models: tuple[ModelResult, ...]
    refused: tuple[SkippedModel, ...]
    references: tuple[Reference, ...]
    labels: tuple[str, ...]
    baseline: str | None
    against: str | None
    overheads: dict[str, Latency]
    conditions: Conditions | None
    target: dict[str, Any]
    instructions_unknown: str | None
    data: dict[str, Any]
    machine: dict[str, Any]
    created: str
    thresholds: ThresholdReport | None = None
    tool_version: str = __version__

    @property
    def passed(self) -> bool:
        """Whether all models are within their tolerance and no rule is met."""
        return not any(model.failures for model in self.models) and not (self.thresholds and self.thresholds.violations)

    @property
    def exit_code(self) -> int:
        """2 if a file could not be measured, 1 if a tolerance is exceeded or a rule is met, else 0."""
        return 2 if self.refused else int(not self.passed)

    def model(self, name: str) -> ModelResult:
        """Return the model with this name."""
        return next(model for model in self.models if model.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values as described by schema.json."""
        plain = dataclasses.asdict(self)
        for values, model in zip(plain["models"], self.models, strict=True):
            values["macs_per_second"] = model.macs_per_second
            values["comparison"] = model.comparison.to_dict() if model.comparison else None
            values["against"] = model.against.to_dict() if model.against else None
        return {"schema": SCHEMA, "passed": self.passed, **plain}
