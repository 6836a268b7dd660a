"""The golden vectors match the preprocessing, and one command reproduces them."""

from __future__ import annotations

import importlib.util
import json
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from harexport.data.uci_har.download import fetch
from harexport.data.uci_har.raw_recordings import read_recordings
from harexport.model.contract import Contract
from harexport.preprocessing.filters import preprocess
from harexport.preprocessing.mount import Mount
from harexport.preprocessing.resampler import Restart
from harexport.preprocessing.stream import Stream, Window
from harexport.runtimes import model
from tests.helpers.requirements import requires

_ROOT = Path(__file__).resolve().parents[2]

_HERE = Path(__file__).resolve().parent
_GOLDEN = _HERE / "stream.json"
_MOUNT = _HERE / "mount.json"
_COMMAND = "the golden vectors are outdated; run python benchmarks/golden.py"


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_GOLDEN.read_text("utf-8"))
    return content


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden", _HERE.parents[1] / "benchmarks" / "golden.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _assert_same(found: Any, expected: Any, atol: float, where: str = "") -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), f"{where}: {_COMMAND}"
        for key in expected:
            _assert_same(found[key], expected[key], 1e-3 if key == "logits" else atol, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), f"{where}: {_COMMAND}"
        for k, (a, b) in enumerate(zip(found, expected, strict=True)):
            _assert_same(a, b, atol, f"{where}[{k}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=0, abs=atol), f"{where}: {_COMMAND}"
    else:
        assert found == expected, f"{where}: {_COMMAND}"


@requires("raw-recordings")
def test_one_command_reproduces_the_files(script: ModuleType, golden: dict[str, Any]) -> None:
    recordings = read_recordings(fetch("pypi"))
    again = json.loads(script.text(script.make(recordings)))
    _assert_same(again, golden, 1e-12)
    _assert_same(json.loads(script.text(script.make_mount(recordings))), json.loads(_MOUNT.read_text("utf-8")), 1e-9)
    assert [case["samples"] for case in again["cases"]] == [case["samples"] for case in golden["cases"]]


def test_stream_and_model_reproduce_windows_and_logits(golden: dict[str, Any]) -> None:
    case = golden["cases"][0]
    stream = Stream(Contract(), case["units"], case["mean_of"], golden["gap_seconds"])
    events: list[Window | Restart] = []
    for sensor, time_ns, *axes in case["samples"]:
        values = tuple(float("nan") if axis is None else axis for axis in axes)
        events += stream.push(sensor, time_ns, values)
    events += stream.flush()
    windows = [event for event in events if isinstance(event, Window)]
    filtered = np.array(case["filtered"])
    assert len(windows) == len(case["windows"]) == 4
    for window, expected in zip(windows, case["windows"], strict=True):
        assert (window.start_ns, window.end_ns) == (expected["start_ns"], expected["end_ns"])
        signals = filtered[expected["first"] : expected["first"] + golden["window"]]
        np.testing.assert_allclose(window.array(), signals, rtol=0, atol=1e-9)
    (restart,) = [event for event in events if isinstance(event, Restart)]
    assert restart.time_ns == case["restarts"][0]["time_ns"]
    name = "artifacts/edge/edge-unrolled-int8-weights.tflite"
    logits = model.load_model(_ROOT / name).logits(np.array([window.array() for window in windows], np.float32))
    np.testing.assert_allclose(logits, case["logits"][name], rtol=0, atol=1e-3)


def test_they_match_the_preprocessing_of_whole_recordings(golden: dict[str, Any]) -> None:
    contract = Contract()
    for case in golden["cases"]:
        grid, filtered = np.array([row[1:] for row in case["grid"]]), np.array(case["filtered"])
        cuts = [0, *(restart["grid_samples_before"] for restart in case["restarts"]), len(grid)]
        assert len(grid) == len(filtered) > 20
        for begin, end in pairwise(cuts):
            batch = preprocess(grid[begin:end, :3], grid[begin:end, 3:], contract.filters, contract.rate_hz, "steady")
            np.testing.assert_allclose(filtered[begin:end], batch, rtol=0, atol=1e-9)


def test_they_contain_every_fault_of_a_phone(golden: dict[str, Any]) -> None:
    dropped = golden["cases"][0]["dropped"]
    assert sum(dropped[sensor][kind] for sensor in dropped for kind in dropped[sensor]) == 3
    assert golden["cases"][0]["restarts"]
    assert golden["cases"][2]["restarts"][0]["reason"] == "the accelerometer timestamps jumped backwards"
    assert golden["cases"][1]["mean_of"] == {"accelerometer": 4, "gyroscope": 2}
    order = [row[1] for row in golden["cases"][0]["samples"]]
    assert order != sorted(order), "sensors arrive in batches"


def test_the_mount_vectors_contain_every_state() -> None:
    content = json.loads(_MOUNT.read_text("utf-8"))
    assert {window["state"] for window in content["windows"]} == {"unknown", "estimated", "changed"}
    for case in content["mounts"]:
        np.testing.assert_allclose(Mount.from_gravity(case["gravity"]).matrix, case["matrix"], rtol=0, atol=1e-12)
    assert len({case["error"] for case in content["standing"]}) == 5, "one estimate, and four different errors"


def test_they_are_small_and_name_their_source() -> None:
    assert _GOLDEN.stat().st_size < 300_000
    assert _MOUNT.stat().st_size < 150_000
    assert "Transition-Aware Human Activity Recognition" in (_HERE / "README.md").read_text("utf-8")
