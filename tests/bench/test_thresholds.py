"""--fail-if: syntax of rules, what they are compared with, and noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harexport.bench import thresholds
from harexport.bench.result import BenchResult, ThresholdReport
from harexport.bench.thresholds import load_baseline
from harexport.errors import InputError
from harexport.evaluation.latency import Latency
from harexport.model.contract import LABELS
from tests.bench.results import model, result

_RESULT = result()


def _apply(text: str, before: BenchResult | None = None, now: BenchResult = _RESULT) -> ThresholdReport:
    baseline: Any = json.loads(json.dumps(before.to_dict())) if before else None
    report = thresholds.apply(now, [thresholds.parse(text, LABELS)], baseline, "old.json").thresholds
    assert report
    return report


def _timed(low: float, p50: float, high: float) -> BenchResult:
    one = model("edge-0.tflite", 0.0, 9.0)
    return result(replace(one, latency=Latency(1000, low, p50, high, high, low, high)))


@pytest.mark.parametrize(
    ("text", "metric", "operator", "value", "relation"),
    [
        ("p50>1.15x", "p50", ">", 1.15, "ratio"),
        ("accuracy<-0.2", "accuracy", "<", -0.002, "change"),
        ("accuracy<-0.2pt", "accuracy", "<", -0.002, "change"),
        ("accuracy<97%", "accuracy", "<", 0.97, "value"),
        (" p99 >= 1.5 ms ", "p99", ">=", 1500.0, "value"),
        ("p50>20us", "p50", ">", 20.0, "value"),
        ("p50>20µs", "p50", ">", 20.0, "value"),
        ("size>100KB", "size", ">", 100_000.0, "value"),
        ("memory>0.1MB", "memory", ">", 100_000.0, "value"),
        ("logit_diff>1e-4", "logit_diff", ">", 1e-4, "value"),
        ("macs>1.01x", "macs", ">", 1.01, "ratio"),
        ("recall:SITTING<-1", "recall", "<", -0.01, "change"),
        ("ece>+1.5", "ece", ">", 0.015, "change"),
    ],
)
def test_valid_rules(text: str, metric: str, operator: str, value: float, relation: str) -> None:
    rule = thresholds.parse(text, LABELS)
    assert (rule.metric, rule.operator, rule.relation) == (metric, operator, relation)
    assert rule.value == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a rule"),
        ("p50", "is not a rule"),
        ("p50=1", "is not a rule"),
        ("p50>fast", "is not a rule"),
        ("speed>1x", "unknown metric; choose accuracy, macro_f1, agreement, ece"),
        ("p50>20", "p50 needs a unit; choose us, ms, s, x (ratio to the baseline)"),
        ("p50>20KB", "the unit KB; choose us, ms, s"),
        ("accuracy<0.97", "choose %, x (ratio to the baseline), pt (change in points; implied by a sign)"),
        ("size>-5", "size needs a unit; choose B, KB, MB"),
        ("p50>0x", "a ratio is greater than 0"),
        ("p50>-2x", "a ratio is greater than 0"),
        ("recall:JUMPING<-1", "recall:LABEL takes one of WALKING"),
        ("p50:SITTING<-1", "recall:LABEL takes one of"),
        ("recall<90%", "unknown metric"),
    ],
)
def test_invalid_rules(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        thresholds.parse(text, LABELS)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_metric_is_found_in_a_result() -> None:
    plain = _RESULT.to_dict()["models"][0]
    missing = {name for name, (_, get) in thresholds.METRICS.items() if get(plain) is None}
    assert missing == {"instructions"}, "which the host cannot count"


def test_absolute_rules_need_no_baseline() -> None:
    assert [one.model for one in _apply("p50>0.1ms").violations] == ["edge-1.tflite"]
    assert [one.model for one in _apply("size>9KB").violations] == ["edge-0.tflite", "edge-1.tflite"]
    assert not _apply("size>10KB").violations
    assert [one.model for one in _apply("recall:WALKING<99%").violations] == ["edge-1.tflite"]
    assert [one.reason for one in _apply("instructions>5").violations] == [
        "edge-0.tflite: cannot be evaluated, the model has no instructions",
        "edge-1.tflite: cannot be evaluated, the model has no instructions",
    ]


def test_a_time_is_too_long_only_beyond_the_noise() -> None:
    before = _timed(9.9, 10.0, 10.1)
    surely, perhaps, fine = _timed(12.4, 12.5, 12.6), _timed(11.0, 12.0, 13.0), _timed(10.9, 11.0, 11.1)
    assert _apply("p50>1.15x", before, surely).violations[0].reason.startswith("edge-0.tflite: p50 is 1.25 times")
    noisy = _apply("p50>1.15x", before, perhaps)
    assert not noisy.violations
    assert "meets p50>1.15x but within the noise" in noisy.notes[0]
    assert _apply("p50>1.15x", before, fine) == ThresholdReport(("p50>1.15x",), "old.json", (), ())


def test_changes_are_in_points() -> None:
    worse = result(model("edge-0.tflite", 0.5, 9.0))
    report = _apply("accuracy<-0.2", result(model("edge-0.tflite", 0.0, 9.0)), worse)
    assert "points from the baseline" in report.violations[0].reason
    assert not _apply("accuracy<-0.2", worse, worse).violations
    assert not _apply("accuracy<-60", result(model("edge-0.tflite", 0.0, 9.0)), worse).violations


def test_models_are_matched_by_name() -> None:
    before = result(model("edge-0.tflite", 0.0, 9.0), model("gone.tflite", 0.0, 9.0))
    report = _apply("size>1.1x", before)
    assert "only old.json has gone.tflite" in report.notes
    (violation,) = report.violations
    assert violation.reason == (
        "edge-1.tflite: cannot be evaluated, there is no model of the same name to compare with"
    )


def test_another_machine_is_noted() -> None:
    before = replace(_RESULT, machine={**_RESULT.machine, "processor": "Another"}, data={**_RESULT.data, "digest": "0"})
    notes = " | ".join(_apply("size>1.1x", before).notes)
    assert "was measured on Another (host)" in notes
    assert "times are not comparable" in notes
    assert "accuracy is not comparable" in notes


def test_against_a_model_of_the_same_run() -> None:
    """No stored times: both are measured now, and the paired interval of the ratio decides."""
    old = replace(
        model("old/edge.tflite", 0.0, 9.0), ratio=replace(_RESULT.models[0].ratio, value=1.0, low=1.0, high=1.0)
    )
    new = model("new/edge.tflite", 0.0, 11.0)
    now = replace(result(old, new), against="old/edge.tflite", baseline="old/edge.tflite")
    report = _apply("p50>1.15x", None, now)
    assert [one.model for one in report.violations] == ["new/edge.tflite"]
    assert "95 % interval 1.212 to 1.232" in report.violations[0].reason
    assert report.compared_with == "old/edge.tflite"
    assert report.notes == ()


def test_a_relative_rule_needs_another_model() -> None:
    rules = [thresholds.parse("p50>1.15x", LABELS)]
    baseline = result(model("other.tflite", 0.0, 9.0)).to_dict()
    with pytest.raises(InputError, match=r"Give --baseline FILE.json.* or --against FILE"):
        thresholds.check_comparable(rules, None, "", None, ["edge.tflite"])
    with pytest.raises(InputError, match=r"old.json has none of these models \(edge.tflite\).* it has other.tflite"):
        thresholds.check_comparable(rules, baseline, "old.json", None, ["edge.tflite"])
    with pytest.raises(InputError, match=r"edge\.safetensors is a checkpoint"):
        thresholds.check_comparable(rules, None, "", Path("edge.safetensors"), ["edge.tflite"])
    thresholds.check_comparable(rules, baseline, "old.json", None, ["edge.tflite", "other.tflite"])
    thresholds.check_comparable(rules, None, "", Path("old.tflite"), ["edge.tflite"])
    thresholds.check_comparable([thresholds.parse("size>5KB", LABELS)], None, "", None, ["edge.tflite"])


def _path(value: dict[str, Any], path: str) -> tuple[Any, Any]:
    *parents, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    for key in parents:
        value = value[key]
    return value, last


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("schema", "harexport-bench-1", "its schema is harexport-bench-1"),
        ("schema", 7, "its schema is 7"),
        ("schema", None, "it has no schema"),
        ("models", {}, "Expected `array`"),
        ("models.0", [], "Expected `object`"),
        ("models.0.name", 5, "Expected `str`"),
        ("models.1.name", "edge-0.tflite", "name occurs twice"),
        ("models.0.figures.accuracy", float("nan"), "NaN is not a JSON number"),
        ("models.0.figures.accuracy", -0.1, ">= 0"),
        ("models.0.figures.accuracy", 98.0, "<= 1"),
        ("models.0.figures.accuracy", "0.98", "Expected `float`"),
        ("models.0.figures.label_recall", [0.5], "other labels"),
        ("models.0.comparison.max_logit_difference", -1.0, ">= 0"),
        ("models.0.latency.p50", 0.0, "> 0"),
        ("models.0.latency.p50", float("inf"), "Infinity is not a JSON number"),
        ("models.0.latency", True, "Expected `object | null`"),
        ("models.0.size_bytes", -5, ">= 0"),
        ("models.0.size_bytes", 10**400, "is not a JSON number"),
        ("labels", ["A"], "other labels"),
        ("data", None, "Expected `object`"),
    ],
)
def test_a_baseline_is_validated(path: str, value: Any, words: str, tmp_path: Path) -> None:
    content = json.loads(json.dumps(_RESULT.to_dict()))
    parent, key = _path(content, path)
    parent[key] = value
    (tmp_path / "old.json").write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        load_baseline(tmp_path / "old.json", LABELS)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_baseline_of_a_phone_and_of_an_emulator_is_valid(tmp_path: Path) -> None:
    untimed = replace(_RESULT.models[0], latency=None, ratio=None, threads={}, throughput=(), cold_start=None)
    for now in (_RESULT, replace(_RESULT, models=(replace(untimed, figures=None, comparison=None),))):
        (tmp_path / "old.json").write_text(json.dumps(now.to_dict()))
        assert load_baseline(tmp_path / "old.json", LABELS) == json.loads(json.dumps(now.to_dict()))


@pytest.mark.parametrize(
    "rule", ["accuracy<-0.5", "accuracy<50%", "logit_diff>1", "agreement<90%", "recall:SITTING<-1"]
)
def test_a_rule_that_cannot_be_evaluated_fails(rule: str) -> None:
    broken = replace(model("edge-0.tflite", 0.0, 9.0), figures=None, comparison=None, calibration_error=None)
    (violation,) = _apply(rule, _RESULT, result(broken)).violations
    assert "cannot be evaluated, the model has no" in violation.reason


def test_a_broken_rule_decides_the_exit_code() -> None:
    fine = result(model("edge-0.tflite", 0.0, 9.0))
    assert fine.exit_code == 0
    assert thresholds.apply(fine, [thresholds.parse("size>1KB", LABELS)], None, "").exit_code == 1
    assert thresholds.apply(fine, [thresholds.parse("size>1MB", LABELS)], None, "").exit_code == 0
