"""Export to the Android demo."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from harexport.errors import InputError
from harexport.exporters import android
from harexport.exporters.options import ExportOptions
from harexport.model.contract import Contract, FilterChain, Lowpass

OPTIONS = ExportOptions("tflite", "int8-weights", "unrolled")
_ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts" / "edge"
SLOW_NOISE = FilterChain(noise=Lowpass(10, 30.0))


@pytest.mark.parametrize(
    ("contract", "options", "message"),
    [
        (Contract(), ExportOptions("onnx"), "it runs .tflite files"),
        (Contract(), dataclasses.replace(OPTIONS, batch=4), "one window at a time"),
        (Contract(), dataclasses.replace(OPTIONS, batch=None), "one window at a time"),
        (Contract(), dataclasses.replace(OPTIONS, scheme="int8", io="int8"), "in float32"),
        (Contract(channels=("heart_rate",), units=("bpm",)), OPTIONS, "no channel heart_rate"),
        (Contract(units=("m/s2",) * 3 + ("rad/s",) * 3 + ("g",) * 3), OPTIONS, "body_acc_x in g, not in m/s2"),
        (Contract(rate_hz=400.0), OPTIONS, "400 Hz is above"),
        (Contract(filters=SLOW_NOISE), OPTIONS, "noise cutoff of 30 Hz is invalid at 50 Hz"),
        (Contract(filters=FilterChain(median=4)), OPTIONS, "not 4"),
        (Contract(window=200_000), OPTIONS, "at most 1000000 values"),
        (Contract(hop=200), OPTIONS, "skips samples"),
    ],
)
def test_unsupported_models_are_rejected(
    tmp_path: Path, contract: Contract, options: ExportOptions, message: str
) -> None:
    (tmp_path / "app").mkdir()
    with pytest.raises(InputError, match=message):
        android.check_project(contract, [options], tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_other_contracts_are_supported(tmp_path: Path) -> None:
    accelerometer = [k for k, name in enumerate(Contract().channels) if "acc" in name]
    contract = Contract(
        window=64,
        hop=16,
        channels=tuple(Contract().channels[k] for k in accelerometer),
        units=("g",) * 6,
        labels=("still", "moving"),
        filters=FilterChain(median=5, noise=Lowpass(4, 18.0)),
    )
    (tmp_path / "app").mkdir()
    android.check_project(contract, [OPTIONS], tmp_path)


def test_needs_one_model_and_an_android_project(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    with pytest.raises(InputError, match="one model"):
        android.check_project(Contract(), [OPTIONS, OPTIONS], tmp_path)
    with pytest.raises(InputError, match="has no app module"):
        android.check_project(Contract(), [OPTIONS], tmp_path / "gone")


@pytest.mark.parametrize(
    ("folder", "name", "script"),
    [
        ("mobile", "build.gradle.kts", 'plugins {\n    id("com.android.application")\n}\n'),
        ("mobile", "build.gradle", "apply plugin: 'com.android.application'\n"),
        ("apps/phone", "build.gradle.kts", "plugins {\n    alias(libs.plugins.android.application)\n}\n"),
        (".", "build.gradle", "plugins {\n    id 'com.android.application'\n}\n"),
    ],
)
def test_the_app_may_have_any_name(tmp_path: Path, folder: str, name: str, script: str) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "build.gradle.kts").write_text('plugins { id("com.android.library") }\n')
    (tmp_path / "build.gradle.kts").write_text(
        "plugins {\n    alias(libs.plugins.android.application) apply false\n}\n"
    )
    app = tmp_path / folder
    app.mkdir(parents=True, exist_ok=True)
    (app / name).write_text(script)
    assert android.find_app_module(tmp_path) == app
    assert android.find_app_module(app) == app
    written = android.write_assets(_ARTIFACTS / "edge-unrolled-float32.tflite", tmp_path)
    assert {path.parent for path in written} == {app / "src" / "main" / "assets"}


def test_two_apps_are_ambiguous(tmp_path: Path) -> None:
    for name in ("phone", "watch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "build.gradle.kts").write_text('plugins { id("com.android.application") }\n')
    with pytest.raises(InputError, match=r"2 apps .*phone.*watch.*give the folder of one"):
        android.find_app_module(tmp_path)
    assert android.find_app_module(tmp_path / "phone") == tmp_path / "phone"


def test_writes_all_four_files_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = _ARTIFACTS / "edge-unrolled-float32.tflite", _ARTIFACTS / "edge-unrolled-int8-weights.tflite"
    (tmp_path / "app").mkdir()
    assets = tmp_path / "app" / android.ASSETS
    android.write_assets(model, tmp_path)
    before = {path.name: path.read_bytes() for path in assets.iterdir()}
    assert sorted(before) == ["contract.json", "golden.json", "labels.txt", "model.tflite"]
    assert before["model.tflite"] == model.read_bytes()
    assert before["labels.txt"].decode().split() == list(Contract().labels)
    golden = json.loads(before["golden.json"])
    assert golden["model_sha256"] == hashlib.sha256(before["model.tflite"]).hexdigest()
    assert golden["contract_sha256"] == hashlib.sha256(before["contract.json"]).hexdigest()
    written = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "golden.json" in path.name:
            raise OSError(28, "No space left on device")
        return written(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match="No space left"):
            android.write_assets(other, tmp_path)
    assert {path.name: path.read_bytes() for path in assets.iterdir()} == before
    (assets / "labels.txt").unlink()
    (assets / "labels.txt").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        android.write_assets(other, tmp_path)
    assert (assets / "model.tflite").read_bytes() == before["model.tflite"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(5, "Input/output error")])
@pytest.mark.parametrize("replaced", [0, 1, 3])
@pytest.mark.parametrize("is_first", [False, True])
def test_interrupted_between_two_replacements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, replaced: int, is_first: bool
) -> None:
    (tmp_path / "app").mkdir()
    assets = tmp_path / "app" / android.ASSETS
    if not is_first:
        android.write_assets(_ARTIFACTS / "edge-unrolled-float32.tflite", tmp_path)
    before = {path: path.read_bytes() for path in assets.glob("*")}
    contents = {assets / name: b"new" for name in ("model.tflite", "labels.txt", "contract.json", "golden.json")}
    replace, calls = Path.replace, []

    def interrupted(path: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == replaced + 1:
            raise error
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises((KeyboardInterrupt, InputError)):
        android.write_contents(contents)
    assert len(calls) > replaced
    assert {path: path.read_bytes() for path in assets.iterdir()} == before


def test_files_of_other_tools_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    foreign = tmp_path / "foreign.tflite"
    foreign.write_bytes(b"TFL3 is missing here")
    with pytest.raises(InputError):
        android.write_assets(foreign, tmp_path)
    with pytest.raises(InputError, match="model not found"):
        android.write_assets(tmp_path / "none.tflite", tmp_path)
    assert not (tmp_path / "app" / android.ASSETS).exists()


def test_limits_match_the_app() -> None:
    core = _ARTIFACTS.parents[1] / "android_demo" / "core" / "src" / "main" / "kotlin" / "org" / "harexport" / "core"
    assert "MAX_INPUT_SIZE = 1_000_000" in (core / "Contract.kt").read_text("utf-8")
    assert "MAX_SIZE = 9999" in (core / "SosFilter.kt").read_text("utf-8")
