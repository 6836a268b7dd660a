"""Load and validate the bench.json of an earlier run, for --fail-if."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from harexport.bench.result import SCHEMA
from harexport.errors import InputError
from harexport.utils import files

Share = Annotated[float, Meta(ge=0, le=1)]
NonNegative = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=0)]


class _Metrics(Struct):
    accuracy: Share
    macro_f1: Share
    label_recall: list[Share]


class _Comparison(Struct):
    agreement: Share
    max_logit_difference: NonNegative | None
    p_value: Share


class _Latency(Struct):
    min: Positive
    p50: Positive
    p90: Positive
    p99: Positive
    low: Positive
    high: Positive


class _Ratio(Struct):
    value: Positive
    low: Positive
    high: Positive


class _ColdStart(Struct):
    load_ms: NonNegative
    first_prediction_ms: NonNegative
    peak_bytes: Count | None


class _Throughput(Struct):
    windows_per_second: NonNegative


class _Model(Struct):
    name: str
    file: str | None
    figures: _Metrics | None
    comparison: _Comparison | None
    calibration_error: Share | None
    latency: _Latency | None
    ratio: _Ratio | None
    cold_start: _ColdStart | None
    throughput: list[_Throughput]
    arena_bytes: Count | None
    size_bytes: Count | None
    macs: Count | None
    instructions: Count | None


class _Machine(Struct):
    processor: str


class _Target(Struct):
    kind: str


class _Data(Struct):
    digest: str


class _Baseline(Struct):
    models: list[_Model]
    labels: list[str]
    machine: _Machine
    target: _Target
    data: _Data


def load_baseline(path: Path, labels: Sequence[str]) -> dict[str, Any]:
    """Load the JSON of an earlier benchmark.

    Args:
        path: A bench.json, or the output of `harexport bench --json`.
        labels: Labels of the data.

    Returns:
        The JSON, in which every value that a rule reads has the right type and range.

    Raises:
        InputError: It is not such a file, or has invalid values or other labels.
    """
    content = files.read_json(path, "--baseline")
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        found = f"its schema is {str(schema)[:40]}" if schema else "it has no schema"
        raise InputError(f"--baseline {path.name} is not an output of `harexport bench` ({found}, expected {SCHEMA})")
    try:
        baseline = msgspec.convert(content, _Baseline)
    except msgspec.ValidationError as error:
        raise InputError(f"--baseline {path.name} is invalid: {error}. Run the benchmark again") from None
    names = [model.name for model in baseline.models]
    if len(set(names)) < len(names):
        raise InputError(f"--baseline {path.name} is invalid: a model name occurs twice. Run the benchmark again")
    recalls = [len(model.figures.label_recall) for model in baseline.models if model.figures]
    if baseline.labels != list(labels) or any(count != len(labels) for count in recalls):
        raise InputError(f"--baseline {path.name} has other labels than the data; run the benchmark again")
    return dict(content)
