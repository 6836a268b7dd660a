"""--target adb with a fake phone, and every error of a phone."""

from __future__ import annotations

import json
import stat
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from harexport.bench import discovery
from harexport.cli import main
from harexport.commands import bench as command
from harexport.data.dataset import Dataset
from harexport.formats import read_model
from harexport.runtimes import sandbox
from harexport.targets import android

_FAKE = Path(__file__).with_name("fake_adb.py")
_SERIAL = "R5CT10ABCDE"


class Phones:
    """Set the scenario of the fake adb."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = folder / "phone"
        self.root.mkdir()
        tools = folder / "platform-tools"
        tools.mkdir()
        adb = tools / "adb"
        adb.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{_FAKE}" "$@"\n')
        adb.chmod(adb.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tools), prepend=":")
        monkeypatch.setenv("FAKE_ADB", str(self.root))
        self.set()

    def set(self, devices: dict[str, str] | None = None, **more: Any) -> None:
        scenario = {"devices": {_SERIAL: "device"} if devices is None else devices, **more}
        (self.root / "scenario.json").write_text(json.dumps(scenario))


@pytest.fixture
def phones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_up: Dataset) -> Phones:
    monkeypatch.setattr(command, "load_data", lambda path: made_up)
    monkeypatch.setattr(android, "_POLL_S", 0.01)
    # without a process for each file, which other tests check
    monkeypatch.setattr(
        discovery,
        "read_sandboxed",
        lambda model, name, path: (read_model(model, name), sandbox.SandboxResult("LiteRT")),
    )
    return Phones(tmp_path, monkeypatch)


def _bench(model: Path, tmp_path: Path, *more: str, target: str = "adb") -> Result:
    arguments = ["bench", str(model), "--target", target, "--out", str(tmp_path / "out"), *more]
    return CliRunner().invoke(main, arguments)


def _refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    for word in words:
        assert word in sentence
    assert isinstance(result.exception, SystemExit), "a traceback"


@pytest.fixture
def model(ours: Path) -> Path:
    return ours / "edge-unrolled-float32.tflite"


def test_a_model_is_checked_and_timed_on_the_phone(ours: Path, model: Path, phones: Phones, tmp_path: Path) -> None:
    result = _bench(ours, tmp_path, "--json")
    assert result.exit_code == 2, "the .onnx file among them cannot be measured"
    document = json.loads(result.stdout)
    schema = resources.files("harexport.bench").joinpath("schema.json").read_text("utf-8")
    jsonschema.validate(document, json.loads(schema))
    (measured,) = document["models"]
    assert measured["name"] == model.name
    assert measured["runtime"] == "LiteRT 1.4.1"
    assert measured["failures"] == []
    assert measured["has_tolerance"]
    assert measured["comparison"]["agreement"] == 1.0
    assert 0 < measured["latency"]["min"] <= measured["latency"]["low"] <= measured["latency"]["p50"]
    assert measured["latency"]["runs"] == 200
    assert measured["cold_start"]["peak_bytes"] == 90_000_000
    assert document["target"] == {"kind": "adb", "device": "Fake Phone 1, Android 16, arm64-v8a"}
    assert document["conditions"] is None
    assert [one["reason"] for one in document["refused"]] == [
        "edge-float32.onnx is not a .tflite file; the demo app runs no other format"
    ]
    assert "Fake Phone 1" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert _SERIAL not in result.stdout
    held = json.loads((phones.root / android.FOLDER.lstrip("/") / "bench.json").read_text())
    jsonschema.validate(
        held, json.loads(resources.files("harexport.targets").joinpath("selftest.schema.json").read_text())
    )


def test_two_files_are_in_ratios_to_the_first(ours: Path, model: Path, phones: Phones, tmp_path: Path) -> None:
    (ours / "edge-float32.onnx").unlink()
    (ours / "z.tflite").write_bytes(model.read_bytes())
    result = _bench(ours, tmp_path, "--json", target=f"adb:{_SERIAL}")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    first, second = document["models"]
    assert document["baseline"] == first["name"] == model.name
    assert first["ratio"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert second["ratio"]["low"] < second["ratio"]["value"] < second["ratio"]["high"]


def test_wrong_predictions_of_a_phone_fail(model: Path, phones: Phones, tmp_path: Path, made_up: Dataset) -> None:
    zeros = [[0.0] * 6] * len(made_up.test)
    phones.set(override={"logits": zeros, "runtime": {"name": "TFLite", "version": "2.6", "xnnpack": False}})
    result = _bench(model, tmp_path)
    assert result.exit_code == 1, result.stderr
    assert "FAILED edge-unrolled-float32.tflite: logits differ by up to" in result.stdout
    assert "the phone did not report XNNPACK" in result.stdout


def test_no_adb(model: Path, phones: Phones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    _refused(_bench(model, tmp_path), "not on the PATH", "apt install adb")


_NOT_READY = {
    "unauthorized": ("has not authorized this computer", "unlock it"),
    "offline": ("offline", "adb reconnect"),
    "no permissions (missing udev rules? user is in the plugdev group); see [http://developer.android.com]": (
        "cannot be accessed by this account",
        "udev",
    ),
    "recovery": ("recovery mode",),
    "rescue": ("is in the state rescue",),
}


@pytest.mark.parametrize("state", _NOT_READY)
def test_a_phone_that_is_not_ready(state: str, model: Path, phones: Phones, tmp_path: Path) -> None:
    phones.set({_SERIAL: state})
    _refused(_bench(model, tmp_path), _SERIAL, *_NOT_READY[state])
    _refused(_bench(model, tmp_path, target=f"adb:{_SERIAL}"), _SERIAL, *_NOT_READY[state])


def test_no_phone_or_another_one(model: Path, phones: Phones, tmp_path: Path) -> None:
    phones.set({})
    _refused(_bench(model, tmp_path), "no phone is connected", "USB debugging")
    _refused(_bench(model, tmp_path, target="adb:XYZ"), "no phone with the serial number XYZ; none is connected")
    phones.set({_SERIAL: "device"})
    _refused(_bench(model, tmp_path, target="adb:XYZ"), "XYZ", f"connected: {_SERIAL}")


def test_two_phones(model: Path, phones: Phones, tmp_path: Path) -> None:
    phones.set({_SERIAL: "device", "emulator-5554": "device"})
    _refused(_bench(model, tmp_path), "2 phones are connected", _SERIAL, "emulator-5554", "--target adb:SERIAL")
    assert _bench(model, tmp_path, target=f"adb:{_SERIAL}").exit_code == 0
    phones.set({_SERIAL: "device", "emulator-5554": "offline"})
    assert _bench(model, tmp_path).exit_code == 0, "the phone that is online is used"


def test_the_app_is_missing_or_too_old(model: Path, phones: Phones, tmp_path: Path) -> None:
    phones.set(installed=False)
    _refused(_bench(model, tmp_path), "the demo app org.harexport.demo is not installed on the phone", "install")
    phones.set(old_app=True)
    _refused(
        _bench(model, tmp_path),
        "self-test of the demo app cannot be started",
        "does not exist",
        "Install a newer version",
    )


@pytest.mark.parametrize(
    ("at", "words"), [("push", "copied to it"), ("pull", "copied from it"), ("shell", "a command ran")]
)
def test_a_disconnected_phone(at: str, words: str, model: Path, phones: Phones, tmp_path: Path) -> None:
    phones.set(pulled_at=at)
    _refused(_bench(model, tmp_path), f"the phone {_SERIAL} was disconnected", words, "Check the cable")


def test_a_phone_disconnected_after_the_first_file(ours: Path, model: Path, phones: Phones, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Earlier results are kept; the other files have a reason."""
    (ours / "edge-float32.onnx").unlink()
    for name in ("y.tflite", "z.tflite"):
        (ours / name).write_bytes(model.read_bytes())
    test = android._run_self_test
    tested: list[str] = []

    def pulling(*arguments: Any) -> android.SelfTest:
        tested.append(arguments[1].name)
        if len(tested) == 2:
            phones.set(pulled_at="push")
        return test(*arguments)

    monkeypatch.setattr(android, "_run_self_test", pulling)
    result = _bench(ours, tmp_path, "--json")
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert [one["name"] for one in document["models"]] == [model.name]
    assert [one["name"] for one in document["refused"]] == ["y.tflite", "z.tflite"]
    assert all("was disconnected" in one["reason"] for one in document["refused"])
    assert tested == [model.name, "y.tflite"], "a disconnected phone is not used again"


def test_the_app_never_ends(model: Path, phones: Phones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(android, "_TEST_TIMEOUT_S", 0.3)
    phones.set(never_ends=True)
    _refused(_bench(model, tmp_path), model.name, "had not finished after 0 s", "keep it unlocked")


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ({"override": {"schema": "harexport-selftest-0"}}, ("is harexport-selftest-0, expected harexport-selftest-2",)),
        ({"untold": ["schema"]}, ("is no self-test, expected",)),
        (
            {"override": {"error": "the model's contract has 5 labels"}},
            ("the phone reports: the model's contract has 5",),
        ),
        ({"override": {"sha256": "0" * 64}}, ("ran another file",)),
        ({"untold": ["times_us"]}, ("missing or invalid value: 'times_us'",)),
        ({"override": {"logits": [[1.0] * 6]}}, ("logits of shape [1, 6]", "expected logits [48, 6]")),
        ({"override": {"logits": [[1.0] * 6, [1.0] * 5]}}, ("missing or invalid value",)),
        ({"override": {"times_us": [[1.0], [1.0, 2.0]]}}, ("missing or invalid value",)),
        ({"override": {"device": "a phone"}}, ("missing or invalid value",)),
    ],
    ids=lambda value: " ".join(json.dumps(value).split())[:40] if isinstance(value, dict) else "",
)
def test_an_invalid_result(scenario: Any, words: tuple[str, ...], model: Path, phones: Phones, tmp_path: Path) -> None:
    phones.set(**scenario)
    _refused(_bench(model, tmp_path), model.name, *words)


def test_what_a_phone_cannot_do_is_refused_first(model: Path, phones: Phones, tmp_path: Path) -> None:
    _refused(_bench(model, tmp_path, "--threads", "1,2"), "--threads and --explain are for --target host only")
    _refused(_bench(model, tmp_path, "--explain", str(model)), "--threads and --explain are for --target host only")
    for target in ("phone", "adb:", "host:1", "arm64:1"):
        _refused(_bench(model, tmp_path, target=target), "choose host, arm64, adb or adb:SERIAL")
