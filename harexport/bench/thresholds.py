"""`--fail-if`: rules that other people's CI holds a model to.

A rule is METRIC OPERATOR VALUE[UNIT], and names what is not to be: "p50>1.15x" fails where the median takes more than
1.15 times the other's. Operators are <, <=, >, >=. What VALUE is compared with depends on its unit:

- x: times the same figure of the model of the same name in --baseline, or of the --against model of this run;
- pt, or a sign and no unit (accuracy<-0.2): the change against that figure, in points of a share;
- %, us, ms, s, B, KB, MB, or no unit where the metric has none: the figure itself.

Times are noisy: a rule on a time is broken where the whole 95 % interval is beyond it, and said to be near where only
the figure is.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harexport.bench.result import SCHEMA, BenchResult, ThresholdReport, Violation
from harexport.errors import InputError
from harexport.evaluation.statistics import Interval

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


def _sum(model: Mapping[str, Any], *keys: str) -> float | None:
    held = model["cold_start"]
    return None if held is None else 1e3 * sum(held[key] for key in keys)


def _held(*path: str) -> Callable[[Mapping[str, Any]], float | None]:
    """The figure at a path of the result's plain JSON values, None where any part of it is."""

    def get(model: Mapping[str, Any]) -> float | None:
        found: Any = model
        for key in path:
            found = None if found is None else found[key]
        return None if found is None else float(found)

    return get


def _throughput(model: Mapping[str, Any]) -> float | None:
    return max((entry["windows_per_second"] for entry in model["throughput"]), default=None)


# Every metric with its kind, and how it is found in a model of the JSON; recall:LABEL is one more for each label.
METRICS: dict[str, tuple[Kind, Callable[[Mapping[str, Any]], float | None]]] = {
    "accuracy": ("share", _held("figures", "accuracy")),
    "macro_f1": ("share", _held("figures", "macro_f1")),
    "agreement": ("share", _held("comparison", "agreement")),
    "ece": ("share", _held("calibration_error")),
    "logit_diff": ("number", _held("comparison", "max_logit_difference")),
    "mcnemar": ("number", _held("comparison", "p_value")),
    "min": ("time", _held("latency", "min")),
    "p50": ("time", _held("latency", "p50")),
    "p90": ("time", _held("latency", "p90")),
    "p99": ("time", _held("latency", "p99")),
    "ratio": ("number", _held("ratio", "value")),
    "load": ("time", lambda model: _sum(model, "load_ms")),
    "cold": ("time", lambda model: _sum(model, "load_ms", "first_answer_ms")),
    "throughput": ("number", _throughput),
    "memory": ("bytes", _held("cold_start", "peak_bytes")),
    "arena": ("bytes", _held("arena_bytes")),
    "size": ("bytes", _held("size_bytes")),
    "macs": ("number", _held("macs")),
    "instructions": ("number", _held("instructions")),
}


@dataclass(frozen=True)
class Rule:
    """`how`: "ratio" and "change" (of a share from 0 to 1) are to another model's figure, "value" is the figure's own.
    `value` is in the metric's base unit: a share from 0 to 1, microseconds, bytes."""

    text: str
    metric: str
    label: str | None
    operator: str
    value: float
    how: Literal["ratio", "change", "value"]

    @property
    def kind(self) -> Kind:
        return "share" if self.label else METRICS[self.metric][0]


def parse(text: str, labels: Sequence[str]) -> Rule:
    """Read a rule. Raises InputError that lists what there is."""
    found = _RULE.fullmatch(text)
    if found is None:
        raise InputError(f'--fail-if "{text}" is no rule: write METRIC>VALUE or METRIC<VALUE, such as "p50>1.15x"')
    name, sign, plus_minus, digits, unit = found.groups()
    metric, _, label = name.partition(":")
    if label:
        if metric != "recall" or label not in labels:
            raise InputError(f'--fail-if "{text}": there is recall:LABEL for {", ".join(labels)}')
    elif metric not in METRICS:
        raise InputError(f'--fail-if "{text}": no such metric; there are {", ".join(METRICS)} and recall:LABEL')
    kind: Kind = "share" if label else METRICS[metric][0]
    number = float(plus_minus + digits)
    unit = unit.replace("µ", "u")
    if unit == "x":
        if number <= 0:
            raise InputError(f'--fail-if "{text}": a ratio is above 0')
        return Rule(text, metric, label or None, sign, number, "ratio")
    if kind == "share" and (unit == "pt" or (not unit and plus_minus)):
        return Rule(text, metric, label or None, sign, number / 100, "change")
    if unit in _UNITS[kind]:
        return Rule(text, metric, label or None, sign, number * _UNITS[kind][unit], "value")
    units = [*(known or "no unit" for known in _UNITS[kind]), "x (ratio to the baseline)"]
    if kind == "share":
        units.append("pt (change in points, which a sign alone says too)")
    raise InputError(
        f'--fail-if "{text}": {metric} has {"the unit " + unit if unit else "a unit"}; choose {", ".join(units)}'
    )


def check_baseline(baseline: Any, name: str) -> None:
    """Raise InputError unless `baseline` is the JSON of an earlier bench."""
    schema = baseline.get("schema") if isinstance(baseline, dict) else None
    if schema != SCHEMA:
        said = f"its schema is {schema}" if schema else "it names no schema"
        raise InputError(f"--baseline {name} is no output of `harexport bench --json` ({said}, expected {SCHEMA})")


def check_comparable(rules: Sequence[Rule], has_baseline: bool, has_against: bool) -> None:
    """Raise InputError where a rule compares with a model that nobody named."""
    relative = [rule for rule in rules if rule.how != "value"]
    if relative and not (has_baseline or has_against):
        raise InputError(
            f'--fail-if "{relative[0].text}" compares with another model: give --baseline FILE.json, an earlier '
            "output of --json, or --against FILE"
        )


def apply(result: BenchResult, rules: Sequence[Rule], baseline: Mapping[str, Any] | None, name: str) -> BenchResult:
    """The result with its gate: its files held to `rules`; `baseline` is an earlier result as plain JSON values, `name`
    its file's.

    Raises InputError where a rule compares with a baseline that shares no model with this run.
    """
    return dataclasses.replace(result, gate=_judge(result, rules, baseline, name))


def _judge(
    result: BenchResult, rules: Sequence[Rule], baseline: Mapping[str, Any] | None, name: str
) -> ThresholdReport:
    now = result.to_dict()
    relative = [rule for rule in rules if rule.how != "value"]
    others: dict[str, Mapping[str, Any]] = {}
    notes: list[str] = []
    compared_with = ""
    if baseline is not None:
        compared_with = name
        others = {model["name"]: model for model in baseline["models"]}
        notes += _differences(now, baseline, name)
    elif result.against in {model.name for model in result.models}:
        compared_with = str(result.against)
        other = next(model for model in now["models"] if model["name"] == result.against)
        others = {model["name"]: other for model in now["models"] if model is not other}
    elif result.against is not None and relative:
        raise InputError(f"{result.against} was not measured as a file: its figures are not known; give --baseline")
    judged = [model for model in now["models"] if model["file"]]
    if relative and not any(model["name"] in others for model in judged):
        raise InputError(
            f"{compared_with} holds none of these models ({', '.join(model['name'] for model in judged)}); it has "
            f"{', '.join(others) or 'none'}: models are matched by name"
        )
    broken = []
    for rule in rules:
        for model in judged:
            verdict = _verdict(rule, model, others.get(model["name"]), result.labels)
            if isinstance(verdict, Violation):
                broken.append(verdict)
            elif verdict and model["name"] != result.against:
                notes.append(verdict)
    return ThresholdReport(
        tuple(rule.text for rule in rules), compared_with, tuple(broken), tuple(dict.fromkeys(notes))
    )


def _differences(now: Mapping[str, Any], baseline: Mapping[str, Any], name: str) -> list[str]:
    """What makes the two runs hard to compare."""
    notes = []
    here, there = (run["machine"]["processor"] for run in (now, baseline))
    if here != there or now["target"]["kind"] != baseline["target"]["kind"]:
        notes.append(
            f"{name} was taken on {there} ({baseline['target']['kind']}), this on {here}: times do not compare"
        )
    if now["data"]["digest"] != baseline["data"]["digest"]:
        notes.append(f"{name} was taken on other test data: accuracy does not compare")
    if gone := {model["name"] for model in baseline["models"]} - {model["name"] for model in now["models"]}:
        notes.append(f"only {name} has {', '.join(sorted(gone))}")
    return notes


def _verdict(
    rule: Rule, model: Mapping[str, Any], other: Mapping[str, Any] | None, labels: Sequence[str]
) -> Violation | str:
    """What a rule says of a model: broken, or a note, which is empty where all is well."""
    interval = _interval(rule, model, labels)
    if interval is None:
        return f"{model['name']} has no {_called(rule)}: {rule.text} was not asked of it"
    if rule.how != "value":
        if other is None:
            return f"{model['name']} has no namesake to compare with: {rule.text} was not asked of it"
        base = _interval(rule, other, labels)
        if base is None or (rule.how == "ratio" and base.value == 0):
            return f"{model['name']}: what it is compared with has no {_called(rule)}: {rule.text} was not asked of it"
        if rule.how == "change":
            interval = Interval(*(getattr(interval, part) - base.value for part in ("value", "low", "high")))
        elif _paired(rule, model, other):  # measured in one run: what slowed down both, cancels out
            interval = Interval(**model["ratio"])
        else:
            interval = Interval(interval.value / base.value, interval.low / base.high, interval.high / base.low)
    beyond = _OPERATORS[rule.operator]
    if not beyond(interval.value, rule.value):
        return ""
    surely = interval.low if rule.operator[0] == ">" else interval.high
    shown = f"{model['name']}: {_called(rule)} is {_format(rule, interval)}"
    if not beyond(surely, rule.value):
        return f"{shown}, beyond {rule.text} but within its noise"
    return Violation(model["name"], rule.text, shown)


def _paired(rule: Rule, model: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return rule.metric == "p50" and (other.get("ratio") or {}).get("value") == 1.0 and other["name"] != model["name"]


def _interval(rule: Rule, model: Mapping[str, Any], labels: Sequence[str]) -> Interval | None:
    if rule.label:
        figures = model["figures"]
        value = figures and figures["label_recall"][list(labels).index(rule.label)]
    else:
        value = METRICS[rule.metric][1](model)
    if value is None:
        return None
    if rule.metric == "p50":
        return Interval(value, model["latency"]["low"], model["latency"]["high"])
    if rule.metric == "ratio":
        return Interval(**model["ratio"])
    return Interval(value, value, value)


def _called(rule: Rule) -> str:
    return f"{rule.metric}:{rule.label}" if rule.label else rule.metric


def _format(rule: Rule, interval: Interval) -> str:
    scale, unit = {"share": (100, "%"), "time": (1, " us"), "bytes": (1e-3, " KB"), "number": (1, "")}[rule.kind]
    if rule.how == "ratio":
        scale, unit = 1, " times the baseline's"
    elif rule.how == "change":
        scale, unit = 100, " points from the baseline's"
    text = f"{scale * interval.value:.4g}{unit}"
    if interval.low < interval.high:
        text += f" (95 % between {scale * interval.low:.4g} and {scale * interval.high:.4g})"
    return text
