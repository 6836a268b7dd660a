"""Failure conditions of --fail-if, for continuous integration, and the baseline that they are compared with.

A rule is METRIC OPERATOR VALUE[UNIT] and describes a failure: "p50>1.15x" fails if the median latency is more than 1.15
times that of the baseline. Operators are <, <=, >, >=. The unit selects what VALUE is compared with:

- x: the ratio to the same metric of the model of the same name in --baseline, or of the --against model of this run;
- pt, or a sign without a unit (accuracy<-0.2): the difference to that metric in percentage points;
- %, us, ms, s, B, KB, MB, or no unit for metrics without one: the metric itself.

Times are noisy: a rule on a time is met if the whole 95 % interval meets it. If only the value does, a note is added.
A rule that cannot be evaluated for a model (no such value, no counterpart, NaN) counts as met.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from harexport.bench.result import SCHEMA, BenchResult, ThresholdReport, Violation
from harexport.errors import InputError
from harexport.evaluation.statistics import Interval
from harexport.utils import files

Kind = Literal["share", "time", "bytes", "number"]

_UNITS: dict[Kind, dict[str, float]] = {
    "share": {"%": 0.01},
    "time": {"us": 1.0, "ms": 1e3, "s": 1e6},
    "bytes": {"B": 1.0, "KB": 1e3, "MB": 1e6},
    "number": {"": 1.0},
}
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_RULE = re.compile(
    r"\s*([A-Za-z0-9_]+(?::[^<>]*[^<>\s])?)\s*(<=|>=|<|>)\s*([+-]?)(\d*\.?\d+(?:[eE][+-]?\d+)?)\s*([A-Za-zµ%]*)\s*"
)


def _cold_start_us(model: Mapping[str, Any], *keys: str) -> float | None:
    cold_start = model["cold_start"]
    return None if cold_start is None else 1e3 * sum(cold_start[key] for key in keys)


def _value_at(*path: str) -> Callable[[Mapping[str, Any]], float | None]:
    """Return a function that reads the value at a path of the JSON; None if any part of the path is None."""

    def get(model: Mapping[str, Any]) -> float | None:
        value: Any = model
        for key in path:
            value = None if value is None else value[key]
        return None if value is None else float(value)

    return get


def _throughput(model: Mapping[str, Any]) -> float | None:
    return max((entry["windows_per_second"] for entry in model["throughput"]), default=None)


# Kind of each metric, and how to read it from a model of the JSON; in addition there is recall:LABEL.
METRICS: dict[str, tuple[Kind, Callable[[Mapping[str, Any]], float | None]]] = {
    "accuracy": ("share", _value_at("figures", "accuracy")),
    "macro_f1": ("share", _value_at("figures", "macro_f1")),
    "agreement": ("share", _value_at("comparison", "agreement")),
    "ece": ("share", _value_at("calibration_error")),
    "logit_diff": ("number", _value_at("comparison", "max_logit_difference")),
    "mcnemar": ("number", _value_at("comparison", "p_value")),
    "min": ("time", _value_at("latency", "min")),
    "p50": ("time", _value_at("latency", "p50")),
    "p90": ("time", _value_at("latency", "p90")),
    "p99": ("time", _value_at("latency", "p99")),
    "ratio": ("number", _value_at("ratio", "value")),
    "load": ("time", lambda model: _cold_start_us(model, "load_ms")),
    "cold": ("time", lambda model: _cold_start_us(model, "load_ms", "first_prediction_ms")),
    "throughput": ("number", _throughput),
    "memory": ("bytes", _value_at("cold_start", "peak_bytes")),
    "arena": ("bytes", _value_at("arena_bytes")),
    "size": ("bytes", _value_at("size_bytes")),
    "macs": ("number", _value_at("macs")),
    "instructions": ("number", _value_at("instructions")),
}


_COMPARED = ("agreement", "logit_diff", "mcnemar")  # metrics of the comparison with the reference


@dataclass(frozen=True)
class Rule:
    """A parsed rule.

    Attributes:
        text: As given.
        metric: Key of METRICS, or "recall".
        label: Label of a recall.
        operator: <, <=, > or >=.
        value: In the base unit of the metric: share from 0 to 1, microseconds, bytes.
        relation: What `value` is compared with: the "ratio" or "change" to another model's metric, or the "value".
    """

    text: str
    metric: str
    label: str | None
    operator: str
    value: float
    relation: Literal["ratio", "change", "value"]

    @property
    def kind(self) -> Kind:
        return "share" if self.label else METRICS[self.metric][0]

    @property
    def metric_name(self) -> str:
        return f"{self.metric}:{self.label}" if self.label else self.metric


def parse(text: str, labels: Sequence[str]) -> Rule:
    """Parse a rule. Raises InputError that lists the choices."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise InputError(f'--fail-if "{text}" is not a rule: write METRIC>VALUE or METRIC<VALUE, such as "p50>1.15x"')
    name, sign, plus_minus, digits, unit = match.groups()
    metric, _, label = name.partition(":")
    if label:
        if metric != "recall" or label not in labels:
            raise InputError(f'--fail-if "{text}": recall:LABEL takes one of {", ".join(labels)}')
    elif metric not in METRICS:
        raise InputError(f'--fail-if "{text}": unknown metric; choose {", ".join(METRICS)} or recall:LABEL')
    kind: Kind = "share" if label else METRICS[metric][0]
    number = float(plus_minus + digits)
    unit = unit.replace("µ", "u")
    if unit == "x":
        if number <= 0:
            raise InputError(f'--fail-if "{text}": a ratio is greater than 0')
        return Rule(text, metric, label or None, sign, number, "ratio")
    if kind == "share" and (unit == "pt" or (not unit and plus_minus)):
        return Rule(text, metric, label or None, sign, number / 100, "change")
    if unit in _UNITS[kind]:
        return Rule(text, metric, label or None, sign, number * _UNITS[kind][unit], "value")
    units = [*(known or "no unit" for known in _UNITS[kind]), "x (ratio to the baseline)"]
    if kind == "share":
        units.append("pt (change in points; implied by a sign)")
    problem = f"{metric} does not take the unit {unit}" if unit else f"{metric} needs a unit"
    raise InputError(f'--fail-if "{text}": {problem}; choose {", ".join(units)}')


def check_comparable(
    rules: Sequence[Rule], baseline: Mapping[str, Any] | None, name: str, against: Path | None, models: Sequence[str]
) -> None:
    """Check, before anything is measured, that rules have a model to compare with.

    Args:
        rules: Parsed rules.
        baseline: JSON of an earlier result, if any.
        name: File name of the baseline.
        against: Model of --against, if any.
        models: Names of the files to measure.

    Raises:
        InputError: A rule compares with another model, and no file has a counterpart.
    """
    relative = [rule for rule in rules if rule.relation != "value"]
    if not relative:
        return
    if baseline is not None:
        known = [model["name"] for model in baseline["models"]]
        if set(known).isdisjoint(models):
            raise InputError(
                f"{name} has none of these models ({', '.join(models)}). Models are matched by name, and it has "
                f"{', '.join(known) or 'none'}"
            )
    elif against is None:
        raise InputError(
            f'--fail-if "{relative[0].text}" compares with another model. Give --baseline FILE.json, an earlier '
            "output of --json, or --against FILE"
        )
    elif against.suffix == ".safetensors":
        raise InputError(
            f'--fail-if "{relative[0].text}" compares with a file, and --against {against} is a checkpoint. Give an '
            ".onnx or .tflite file, or --baseline"
        )


def apply(result: BenchResult, rules: Sequence[Rule], baseline: Mapping[str, Any] | None, name: str) -> BenchResult:
    """Return the result with the rules applied to its files.

    Args:
        result: The result.
        rules: Parsed rules.
        baseline: JSON of an earlier result; None to compare with --against.
        name: File name of the baseline.
    """
    return dataclasses.replace(result, thresholds=_apply(result, rules, baseline, name))


def _apply(
    result: BenchResult, rules: Sequence[Rule], baseline: Mapping[str, Any] | None, name: str
) -> ThresholdReport:
    current = result.to_dict()
    counterparts: dict[str, Mapping[str, Any]] = {}
    notes: list[str] = []
    compared_with = ""
    if baseline is not None:
        compared_with = name
        counterparts = {model["name"]: model for model in baseline["models"]}
        notes += _differences(current, baseline, name)
    elif result.against in {model.name for model in result.models}:
        compared_with = str(result.against)
        against = next(model for model in current["models"] if model["name"] == result.against)
        counterparts = {model["name"]: against for model in current["models"] if model is not against}
    models = [model for model in current["models"] if model["file"]]
    violations = []
    for rule in rules:
        for model in models:
            if rule.relation != "value" and baseline is None and model["name"] == result.against:
                continue  # a model is not compared with itself
            outcome = _check(rule, model, counterparts.get(model["name"]), result.labels)
            if isinstance(outcome, Violation):
                violations.append(outcome)
            elif outcome:
                notes.append(outcome)
    texts = tuple(rule.text for rule in rules)
    return ThresholdReport(texts, compared_with, tuple(violations), tuple(dict.fromkeys(notes)))


def _differences(current: Mapping[str, Any], baseline: Mapping[str, Any], name: str) -> list[str]:
    """Return what makes the two runs hard to compare."""
    notes = []
    here, there = (run["machine"]["processor"] for run in (current, baseline))
    if here != there or current["target"]["kind"] != baseline["target"]["kind"]:
        notes.append(
            f"{name} was measured on {there} ({baseline['target']['kind']}), this run on {here}: times are not "
            "comparable"
        )
    if current["data"]["digest"] != baseline["data"]["digest"]:
        notes.append(f"{name} was measured on other test data: accuracy is not comparable")
    if missing := {model["name"] for model in baseline["models"]} - {model["name"] for model in current["models"]}:
        notes.append(f"only {name} has {', '.join(sorted(missing))}")
    return notes


def _check(
    rule: Rule, model: Mapping[str, Any], counterpart: Mapping[str, Any] | None, labels: Sequence[str]
) -> Violation | str:
    """Return a violation, or a note, which is empty if the rule is not met.

    A rule that cannot be evaluated is a violation: a missing value must not pass.
    """

    def cannot_evaluate(reason: str) -> Violation:
        return Violation(model["name"], rule.text, f"{model['name']}: cannot be evaluated, {reason}")

    interval = _interval(rule, model, labels)
    if interval is None:
        if rule.metric in _COMPARED and model["comparison"] is None and model["figures"] is not None:
            return ""  # the reference itself
        return cannot_evaluate(f"the model has no {rule.metric_name}")
    if rule.relation != "value":
        if counterpart is None:
            return cannot_evaluate("there is no model of the same name to compare with")
        base = _interval(rule, counterpart, labels)
        if base is None or (rule.relation == "ratio" and base.value == 0):
            return cannot_evaluate(f"the model to compare with has no {rule.metric_name}")
        if rule.relation == "change":
            interval = Interval(*(getattr(interval, part) - base.value for part in ("value", "low", "high")))
        elif _is_paired(rule, model, counterpart):  # one run: common noise cancels out
            interval = Interval(**model["ratio"])
        else:
            interval = Interval(interval.value / base.value, interval.low / base.high, interval.high / base.low)
    is_met = _OPERATORS[rule.operator]
    if not is_met(interval.value, rule.value):
        return ""
    bound = interval.low if rule.operator[0] == ">" else interval.high
    description = f"{model['name']}: {rule.metric_name} is {_format(rule, interval)}"
    if not is_met(bound, rule.value):
        return f"{description}, which meets {rule.text} but within the noise"
    return Violation(model["name"], rule.text, description)


def _is_paired(rule: Rule, model: Mapping[str, Any], counterpart: Mapping[str, Any]) -> bool:
    is_baseline = (counterpart.get("ratio") or {}).get("value") == 1.0
    return rule.metric == "p50" and is_baseline and counterpart["name"] != model["name"]


def _interval(rule: Rule, model: Mapping[str, Any], labels: Sequence[str]) -> Interval | None:
    if rule.label:
        metrics = model["figures"]
        value = metrics and metrics["label_recall"][list(labels).index(rule.label)]
    else:
        value = METRICS[rule.metric][1](model)
    if value is None or not math.isfinite(value):
        return None
    if rule.metric == "p50":
        return Interval(value, model["latency"]["low"], model["latency"]["high"])
    if rule.metric == "ratio":
        return Interval(**model["ratio"])
    return Interval(value, value, value)


def _format(rule: Rule, interval: Interval) -> str:
    scale, unit = {"share": (100, "%"), "time": (1, " us"), "bytes": (1e-3, " KB"), "number": (1, "")}[rule.kind]
    if rule.relation == "ratio":
        scale, unit = 1, " times that of the baseline"
    elif rule.relation == "change":
        scale, unit = 100, " points from the baseline"
    text = f"{scale * interval.value:.4g}{unit}"
    if interval.low < interval.high:
        text += f" (95 % interval {scale * interval.low:.4g} to {scale * interval.high:.4g})"
    return text


_Share = Annotated[float, Meta(ge=0, le=1)]
_NonNegative = Annotated[float, Meta(ge=0)]
_Positive = Annotated[float, Meta(gt=0)]
_Count = Annotated[int, Meta(ge=0)]


class _Metrics(Struct):
    accuracy: _Share
    macro_f1: _Share
    label_recall: list[_Share]


class _Comparison(Struct):
    agreement: _Share
    max_logit_difference: _NonNegative | None
    p_value: _Share


class _Latency(Struct):
    min: _Positive
    p50: _Positive
    p90: _Positive
    p99: _Positive
    low: _Positive
    high: _Positive


class _Ratio(Struct):
    value: _Positive
    low: _Positive
    high: _Positive


class _ColdStart(Struct):
    load_ms: _NonNegative
    first_prediction_ms: _NonNegative
    peak_bytes: _Count | None


class _Throughput(Struct):
    windows_per_second: _NonNegative


class _Model(Struct):
    name: str
    file: str | None
    figures: _Metrics | None
    comparison: _Comparison | None
    calibration_error: _Share | None
    latency: _Latency | None
    ratio: _Ratio | None
    cold_start: _ColdStart | None
    throughput: list[_Throughput]
    arena_bytes: _Count | None
    size_bytes: _Count | None
    macs: _Count | None
    instructions: _Count | None


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
