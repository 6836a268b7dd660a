"""Reports contain all values of any result, are valid for any names, and look right in a browser."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner

from harexport.bench import thresholds
from harexport.bench.divergence import Divergence
from harexport.bench.report import svg, text
from harexport.bench.report.html import render_html, save_report
from harexport.bench.result import BenchResult, SkippedModel, ThresholdReport, Violation
from harexport.cli import main
from harexport.errors import InputError
from harexport.evaluation import comparison
from harexport.evaluation.comparison import Predictions
from harexport.model.contract import LABELS
from harexport.utils.tables import format_markdown
from tests.bench.results import LOGITS, TRUTH, model, result
from tests.helpers.requirements import find_browser, requires

_SCHEMA = json.loads(resources.files("harexport.bench").joinpath("schema.json").read_text("utf-8"))


@pytest.fixture
def measured() -> BenchResult:
    return result()


def _full() -> BenchResult:
    """Return a result with every optional part."""
    full = result(
        model("edge-0.tflite", 0.0, 9.0),
        model("edge-1.tflite", 0.5, 709.0, ("logits differ by up to 0.5",)),
        model("theirs.tflite", 0.2, 21.0, has_tolerance=False),
        refused=(SkippedModel("cut.tflite", "cut.tflite is damaged: get it again"),),
        noise=("the core's frequency governor is powersave: its clock follows the load",),
    )
    full = replace(full, against="edge-0.tflite")
    return thresholds.apply(
        full, [thresholds.parse("p50>1.15x", LABELS), thresholds.parse("size>5MB", LABELS)], None, ""
    )


def test_the_table_has_every_value(measured: BenchResult) -> None:
    head, first, second = text.overview_table(measured)
    expected = ["edge-0.tflite", "LiteRT", "10.0", "100.00%", "0", "100.00%", "0.0e+00"]
    assert list(first) == [*expected, "8.0", "9.0", "10.0", "1234", "2.5", "passed"]
    assert len(head) == len(first)
    assert second[-1] == "FAILED"
    assert (
        format_markdown(text.overview_table(measured)).splitlines()[2].startswith("| edge-0.tflite | LiteRT | 10.0 |")
    )
    printed = text.format_terminal(measured)
    for block in printed.split("\n\n")[:2]:
        assert len({len(line) for line in block.splitlines()}) == 1, "the columns are not aligned"
    assert "78.78  78.77-78.79" in printed


def test_a_failure_is_in_every_format(measured: BenchResult) -> None:
    assert not measured.passed
    assert text.summarize(measured) == "1 of 2 models failed their check on the 600 test windows."
    for output in (text.format_terminal(measured), render_html(measured), text.format_pull_request(measured)):
        assert "FAILED edge-1.tflite: logits differ by up to 0.5" in output
        assert "Layer 0 departs at step 9" in output
    assert json.loads(json.dumps(measured.to_dict()))["passed"] is False
    fine = replace(measured, models=measured.models[:1])
    assert text.summarize(fine) == (
        "edge-0.tflite matches its reference on the 600 test windows, within its tolerance."
    )
    assert "FAILED" not in render_html(fine)
    assert text.summarize(replace(fine, models=fine.models * 3)).startswith("All 3 models match")


def test_everything_is_in_every_format() -> None:
    full = _full()
    expected = (
        "FAILED edge-1.tflite", "FAILED p50&gt;1.15x", "NOT MEASURED cut.tflite is damaged", "governor is powersave",
        "theirs.tflite: a note", "no tolerance",
    )  # fmt: skip
    for output in (text.format_terminal(full), text.format_pull_request(full), render_html(full)):
        for words in expected:
            assert words.replace("&gt;", ">") in output.replace("&gt;", ">").replace("&#39;", "'")
    assert "1 of 2 models failed their check" in text.summarize(full)
    assert (
        "1 more was compared without a tolerance. 2 --fail-if rules were met. 1 file could not be measured."
        in text.summarize(full)
    )
    assert full.exit_code == 2


@pytest.mark.parametrize("kind", ["plain", "full", "nothing timed", "nothing compared"])
def test_the_json_is_valid_by_its_schema(kind: str, measured: BenchResult) -> None:
    bare = replace(
        measured.models[0], latency=None, ratio=None, threads={}, throughput=(), cold_start=None, instructions=12345
    )
    results = {
        "plain": measured,
        "full": _full(),
        "nothing timed": replace(measured, models=(bare,), conditions=None, overheads={}, target={"kind": "arm64"}),
        "nothing compared": replace(measured, models=(replace(measured.models[0], comparison=None),), references=()),
    }
    plain = json.loads(json.dumps(results[kind].to_dict()))
    jsonschema.validate(plain, _SCHEMA, jsonschema.Draft202012Validator)
    jsonschema.Draft202012Validator.check_schema(_SCHEMA)
    result = results[kind]
    for output in (text.format_terminal(result), text.format_pull_request(result), render_html(result)):
        assert "None" not in output
        assert "nan" not in output
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**plain, "more": 1}, _SCHEMA, jsonschema.Draft202012Validator)


def test_nan_predictions_are_reported(measured: BenchResult, tmp_path: Path) -> None:
    broken = Predictions("broken.tflite", "logits", np.full_like(LOGITS, np.nan))
    compared = comparison.compare(broken, Predictions("edge in float64", "logits", LOGITS), TRUTH)
    one = replace(
        measured.models[0], comparison=compared, failures=("the predictions of 600 windows are NaN or infinite",)
    )
    page = save_report(replace(measured, models=(one,)), tmp_path)
    assert "the predictions of 600 windows are NaN or infinite" in page.read_text("utf-8")
    held = json.loads((tmp_path / "bench.json").read_text("utf-8"))["models"][0]
    assert held["comparison"]["max_logit_difference"] is None


def test_names_cannot_break_the_page(measured: BenchResult) -> None:
    evil = replace(measured.models[0], name="<script>alert(1)</script>&$title")
    page = render_html(replace(measured, models=(evil,)))
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;$title" in page
    piped = replace(measured.models[0], name="a|b")
    assert "| a\\|b |" in format_markdown(text.overview_table(replace(measured, models=(piped,))))


def test_names_cannot_break_the_pull_request(measured: BenchResult) -> None:
    name = "a|b\n\n# <img src=x onerror=alert(1)> \x1b[2J"
    evil = replace(measured.models[0], name=name, notes=(name,), failures=(name,))
    output = text.format_pull_request(
        replace(
            measured, models=(evil,), refused=(SkippedModel(name, f"{name} is damaged"),), baseline=name,
            thresholds=ThresholdReport(("p50>1x",), name, (Violation(name, "p50>1x", name),), (name,)),
        )
    )  # fmt: skip
    assert "<img" not in output
    assert "\x1b" not in output
    assert "\n# " not in output
    assert all("a|b" not in line.replace("a\\|b", "") for line in output.splitlines())


def test_json_and_page_are_written_together(measured: BenchResult, tmp_path: Path) -> None:
    page = save_report(measured, tmp_path / "out")
    assert sorted(path.name for path in page.parent.iterdir()) == ["bench.json", "report.html"]
    assert json.loads((page.parent / "bench.json").read_text("utf-8")) == json.loads(json.dumps(measured.to_dict()))
    elsewhere = save_report(measured, tmp_path / "out", page=tmp_path / "there.html")
    assert elsewhere.read_text("utf-8") == page.read_text("utf-8")


def test_the_page_has_no_external_resources() -> None:
    page = render_html(_full())
    assert not re.findall(r"(?:https?:)?//[a-z]", page)
    assert "prefers-color-scheme: dark" in page
    assert page.index("failed their check") < page.index("<svg") < page.index("<table"), "summary, pictures, tables"


def test_labels_of_the_divergence_plot_do_not_overlap() -> None:
    steps = tuple(1e-7 for _ in range(16))
    drawn = svg.draw_divergence(Divergence(12, (steps,) * 4, 1e-3, None, None, "All states match"))
    places = sorted(float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>layer \d', drawn))
    assert len(places) == 4
    assert min(np.diff(places)) >= 12.9


# ---- in a browser -------------------------------------------------------------------------------------------------


def _shot(page: Path, width: int, dark: bool, folder: Path) -> Any:
    from matplotlib.image import imread

    picture = folder / f"{width}-{dark}.png"
    command = [
        find_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--window-size={width},1600", f"--user-data-dir={folder / 'profile'}", f"--screenshot={picture}",
        *(["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []), page.as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return imread(picture)[:, :, :3]


@requires("chromium")
def test_a_browser_shows_it_light_and_dark_wide_and_narrow(tmp_path: Path) -> None:
    page = save_report(_full(), tmp_path)
    # left aligned text of the body must stay inside of a phone's screen: what is wide scrolls in its own box
    probe = tmp_path / "probe.html"
    script = "<script>document.title = document.documentElement.scrollWidth - innerWidth</script></body>"
    probe.write_text(page.read_text("utf-8").replace("</body>", script), "utf-8")
    light, dark = (_shot(page, 1200, mode, tmp_path) for mode in (False, True))
    assert light.shape[:2] == dark.shape[:2] == (1600, 1200)
    assert light.mean() > 0.85, "a light page"
    assert dark.mean() < 0.25, "a dark page"
    for shot in (light, dark):
        assert shot.std() > 0.05, "there is something on it"
        hues = shot.max(axis=2) - shot.min(axis=2)
        assert (hues > 0.3).mean() > 0.001, "plots and results have colors"
    dump = [find_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,1600",
            f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", probe.as_uri()]  # fmt: skip
    dom = subprocess.run(dump, check=True, capture_output=True, text=True, timeout=60).stdout
    (wider,) = re.findall(r"<title>(-?\d+)</title>", dom)
    assert int(wider) <= 0, "the page itself scrolls sideways on a phone"
    assert _shot(page, 500, False, tmp_path).std() > 0.05


def test_results_are_printed_if_a_report_cannot_be_written(
    measured: BenchResult, uci_har_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise InputError("could not write report.html: No space left on device")

    monkeypatch.setattr("harexport.commands.bench._run_on_target", lambda *_: measured)
    monkeypatch.setattr("harexport.bench.report.html.save_report", fail)
    model = Path(__file__).resolve().parents[2] / "artifacts" / "edge" / "edge-unrolled-float32.tflite"
    arguments = ["bench", str(model), "--data", str(uci_har_path), "--out", str(tmp_path), "--json"]
    printed = CliRunner().invoke(main, arguments)
    assert printed.exit_code == 2
    assert json.loads(printed.stdout) == json.loads(json.dumps(measured.to_dict()))
    assert printed.stderr.splitlines()[-1] == "Error: could not write report.html: No space left on device"
