"""The report says what the result holds, whatever the result holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harexport import metrics
from harexport.contract import LABELS
from harexport.parity import compare
from harexport.verify import report
from harexport.verify.bench import BenchResult, ModelResult, Reference, machine
from harexport.verify.latency import ColdStart, Latency


@pytest.fixture
def result() -> BenchResult:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(600, 6))
    truth = logits.argmax(axis=1)
    figures = metrics.classify(truth, truth, 6)
    models = tuple(
        ModelResult(
            name=f"edge-{k}.tflite",
            recipe="edge",
            runtime="LiteRT",
            scheme="float32",
            lowering="unrolled",
            file=f"edge-{k}.tflite",
            size_bytes=10_000 * (k + 1),
            parity=compare(logits, logits + error, truth, "float32"),
            latency=Latency(1000, 8.0 + k, 9.0 + 700 * k, 10.0 + 700 * k, 1234.5 + k),
            cold_start=ColdStart(3, 2.0, 0.5),
        )
        for k, error in enumerate((0.0, 0.5))
    )
    reference = Reference("edge", "edge.safetensors", "ab" * 32, 7, 48, 12345, figures, LABELS, None, False)
    data = {"source": "UCI HAR Dataset", "digest": "cd" * 32, "test_windows": 600}
    return BenchResult(models, (reference,), data, machine(), "2026-01-01T00:00:00+00:00")


def test_the_table_holds_every_figure(result: BenchResult) -> None:
    head, first, second = report.rows(result)
    expected = ["edge-0.tflite", "LiteRT", "10.0", "100.00%", "0", "100.00%", "0.0e+00"]
    assert list(first) == [*expected, "8.0", "9.0", "10.0", "1234", "2.5", "passed"]
    assert len(head) == len(first)
    assert second[-1] == "FAILED"
    assert report.markdown(report.rows(result)).splitlines()[2].startswith("| edge-0.tflite | LiteRT | 10.0 |")
    lines = report.terminal(result).splitlines()
    assert len({len(line) for line in lines[:4]}) == 1, "the columns are not aligned"


def test_a_broken_promise_is_everywhere(result: BenchResult) -> None:
    assert not result.passed
    assert report.summary(result) == "1 of 2 models broke their promise on the 600 test windows."
    for text in (report.terminal(result), report.html(result)):
        assert "FAILED edge-1.tflite: logits differ by up to 0.5" in text
    assert json.loads(json.dumps(result.to_dict()))["passed"] is False
    fine = replace(result, models=result.models[:1])
    assert report.summary(fine).startswith("All 1 models answer")
    assert "FAILED" not in report.html(fine)


def test_answers_that_are_not_numbers_are_reported_too(result: BenchResult, tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(600, 6))
    broken = compare(logits, np.full_like(logits, np.nan), logits.argmax(axis=1), "float32")
    told = replace(result, models=(replace(result.models[0], parity=broken),))
    page = report.save(told, tmp_path)
    assert "600 windows answered with NaN or infinity" in page.read_text("utf-8")
    assert (
        json.loads((tmp_path / "bench.json").read_text("utf-8"))["models"][0]["parity"]["max_logit_difference"] is None
    )


def test_names_cannot_break_the_page(result: BenchResult) -> None:
    evil = replace(result.models[0], name="<script>alert(1)</script>&$title")
    page = report.html(replace(result, models=(evil,)))
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;$title" in page


def test_json_and_page_are_written_together(result: BenchResult, tmp_path: Path) -> None:
    page = report.save(result, tmp_path / "out")
    assert sorted(path.name for path in page.parent.iterdir()) == ["bench.json", "report.html"]
    assert json.loads((page.parent / "bench.json").read_text("utf-8")) == json.loads(json.dumps(result.to_dict()))


def test_it_names_no_machine_and_no_path(result: BenchResult, tmp_path: Path) -> None:
    import getpass
    import platform

    text = json.dumps(result.to_dict()["machine"])
    for private in (platform.node(), str(Path.home()), str(Path.cwd()), getpass.getuser() + "@"):
        assert private not in text
