"""The published .tflite files pass in TensorFlow Lite 2.6.2, and the results are current."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import old_runtime
from benchmarks.tflite_2_6 import feed as feeding
from benchmarks.tflite_2_6 import jvm, subjects
from harexport.errors import InputError
from harexport.exporters import checks, tflite
from harexport.formats import tflite_reader as reading
from tests.helpers.networks import contract_of, random_network
from tests.helpers.requirements import requires

_ROOT = Path(__file__).resolve().parents[2]
_RERUN = f"run: {old_runtime.COMMAND}"
_SUPPORTED = ("float32", "float16", "int8-weights")


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    assert old_runtime.JSON.exists(), _RERUN
    read: dict[str, Any] = json.loads(old_runtime.JSON.read_text("utf-8"))
    return read


def _scheme(path: Path) -> str:
    return str(reading.read_metadata(path.read_bytes(), path.name)["metadata"]["scheme"])


def _shipped() -> list[Path]:
    found = sorted((_ROOT / "artifacts").rglob("*.tflite"))
    return [path for path in found if _scheme(path) in _SUPPORTED]


@pytest.mark.parametrize("path", _shipped(), ids=lambda path: path.stem)
def test_the_shipped_file_ran_and_passed(measured: dict[str, Any], path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    rows = [row for row in measured["rows"] if row["sha256"] == digest]
    assert rows, f"{path.name} changed since it ran in TensorFlow Lite 2.6.2; {_RERUN}"
    assert rows[0]["is_supported"], f"{path.name} needs TensorFlow Lite {rows[0]['min_runtime_version']}, not 2.6"
    assert rows[0]["loads"]
    assert set(rows[0]["ways"]) == set(old_runtime.MODES)
    assert rows[0]["passed"], f"{path.name}: {'; '.join(rows[0]['failures'])}. When that is mended, {_RERUN}"


def test_it_was_the_oldest_runtime(measured: dict[str, Any]) -> None:
    assert [version[:4] for version in measured["runtime"]] == ["2.6."]
    assert set(measured["artifacts"]) == {coordinates for coordinates, *_ in jvm.PARTS}


def test_every_form_was_tried(measured: dict[str, Any]) -> None:
    names = {row["file"] for row in measured["rows"]}
    for recipe in ("edge", "baseline-lstm"):
        for lowering in ("fused", "unrolled"):
            for scheme in (*_SUPPORTED, "int8"):
                assert f"{recipe}-{lowering}-{scheme}.tflite" in names, _RERUN
            assert f"{recipe}-{lowering}-float32-batch4.tflite" in names, _RERUN
        assert f"{recipe}-unrolled-float32-dynamic.tflite" in names, _RERUN
    for gru in subjects.GRUS:
        assert f"gru-{gru}-unrolled-int8-weights-dynamic.tflite" in names, _RERUN
    for recipe in ("baseline-lstm", "baseline-gru"):
        for scheme in _SUPPORTED:
            assert f"{recipe}-loop-{scheme}.tflite" in names, _RERUN
            assert f"{recipe}-loop-{scheme}-dynamic.tflite" in names, _RERUN


def test_the_verdicts_follow_from_the_figures(measured: dict[str, Any]) -> None:
    for row in measured["rows"]:
        assert row["failures"] == old_runtime.find_failures(row), _RERUN
        assert row["passed"] == (not row["failures"])
        for figures in row["ways"].values():
            assert "failure" in figures or 0 < figures["min_us"] <= figures["p50_us"]
    lines = old_runtime.format_table(measured["rows"]).splitlines()
    assert len(lines) == 2 + sum(1 + len(row["failures"]) for row in measured["rows"])


def test_no_machines_paths(measured: dict[str, Any]) -> None:
    assert not re.findall(r"/(?:tmp|home|root|work|usr|var)/[^\"]*", json.dumps(measured))


def _row(**changes: Any) -> dict[str, Any]:
    good = {
        "max_logit_difference": 1e-6,
        "largest_logit": 5.0,
        "same_predictions": 1.0,
        "zeros_only": 0,
        "moved_without_reset": 0.0,
        "moved_after": [],
    }
    ways = {way: {**good, **changes} for way in old_runtime.MODES[:1]}
    return {"is_supported": True, "scheme": "float32", "signature": "same", "ways": ways}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"failure": "IllegalArgumentException: no"}, "IllegalArgumentException: no"),
        ({"max_logit_difference": 1e-3}, "differ by 0.001"),
        ({"max_logit_difference": None}, "not finite"),
        ({"same_predictions": 0.5}, "only 50.0%"),
        ({"zeros_only": 7}, "all logits of 7 windows are zero"),
        ({"moved_without_reset": 0.1}, "change by 0.1"),
        ({"moved_after": ["NaN"]}, "after a window of NaN"),
    ],
)
def test_what_is_a_failure(changes: dict[str, Any], words: str) -> None:
    assert old_runtime.find_failures(_row()) == []
    (failure,) = old_runtime.find_failures(_row(**changes))
    assert words in failure
    assert old_runtime.find_failures({**_row(**changes), "is_supported": False}) == []


def test_what_a_file_is_fed(tmp_path: Path) -> None:
    network = random_network(frame=32, hop=16, hidden=(8,), units=8)
    contract = contract_of(network)
    held = reading.read(tflite.build(network, contract, {}, "unrolled", "float32", 4), "it")
    windows = checks.synthetic_windows(contract, 6)
    feed = feeding.Feed(windows, held, 4)
    given = np.frombuffer(feed.bytes, np.float32).reshape(-1, *windows.shape[1:])
    assert len(given) == 8 + 3 * 8
    assert np.array_equal(given[:6], windows)
    assert np.array_equal(given[6:8], windows[[5, 5]])
    assert np.isnan(given[8:12]).all()
    assert np.array_equal(given[12:16], windows[:4])
    outputs = np.repeat(given[:, 0, :1], 6, axis=1)
    (tmp_path / "logits").write_bytes(outputs.tobytes())
    logits, unmoved = feed.logits(tmp_path / "logits")
    assert np.array_equal(logits, outputs[:6])
    assert unmoved == {"NaN": True, "infinity": True, "1e30": True}
    outputs[14] += 1
    (tmp_path / "logits").write_bytes(outputs.tobytes())
    assert feed.logits(tmp_path / "logits")[1] == {"NaN": False, "infinity": True, "1e30": True}
    np.full(8, 4000, "<i8").tofile(tmp_path / "times")
    assert feed.microseconds(tmp_path / "times").tolist() == [1.0, 1.0]


@pytest.mark.parametrize("missing", ["java", "javac", "mvn"])
def test_a_missing_tool_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(shutil, "which", lambda name: None if name == missing else name)
    monkeypatch.setattr("sys.argv", ["old_runtime.py"])
    assert old_runtime.main() == 2
    assert capsys.readouterr().err == (
        f"{missing} is not installed; TensorFlow Lite's Java API needs a JDK (8 or newer) and Maven\n"
    )


def test_another_system_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(InputError, match=r"Linux x86_64 only"):
        jvm.OldRuntime()


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.tflite file"):
        list(subjects.shipped([tmp_path]))


@requires("java")
def test_a_file_in_the_old_runtime(tmp_path: Path) -> None:
    network = random_network(frame=32, hop=16, hidden=(8,), units=8, forget_bias=6)
    contract = contract_of(network)
    windows = checks.synthetic_windows(contract, 12)
    old = jvm.OldRuntime()
    for batch in (1, 4, None):
        model = tflite.build(network, contract, {}, "unrolled", "float32", batch)
        feed = feeding.Feed(windows, reading.read(model, "it"), batch)
        events, _ = old.run(model, feed.bytes, feed.sizes, tmp_path)
        assert events[-1] == "end signature same"
        for way in old_runtime.MODES:
            logits, unmoved = feed.logits(tmp_path / f"{way}.logits")
            assert np.abs(logits - network.logits(windows)).max() < 1e-4
            assert all(unmoved.values())
            assert (feed.microseconds(tmp_path / f"{way}.nanoseconds") > 0).all()
    events, _ = old.run(b"no model at all", windows.tobytes(), (1,), tmp_path)
    assert all(event.startswith(("runtime", "begin", "failed")) for event in events)
    assert len([event for event in events if "IllegalArgumentException" in event]) == len(old_runtime.MODES) + 1
