"""The Android project gets what its app can serve, or nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harexport.contract import Contract, FilterChain, Lowpass
from harexport.errors import InputError
from harexport.exporting import android
from harexport.exporting.forms import Form

FORM = Form("tflite", "int8-weights", "unrolled")
SLOW_NOISE = FilterChain(noise=Lowpass(10, 30.0))


@pytest.mark.parametrize(
    ("contract", "form", "says"),
    [
        (Contract(), Form("onnx"), "it runs .tflite files"),
        (Contract(), dataclasses.replace(FORM, batch=4), "one window at a time"),
        (Contract(), dataclasses.replace(FORM, batch=None), "one window at a time"),
        (Contract(), dataclasses.replace(FORM, scheme="int8", io="int8"), "in floats"),
        (Contract(channels=("heart_rate",), units=("bpm",)), FORM, "no heart_rate"),
        (Contract(units=("m/s2",) * 3 + ("rad/s",) * 3 + ("g",) * 3), FORM, "body_acc_x in g, not in m/s2"),
        (Contract(rate_hz=400.0), FORM, "400 Hz is above"),
        (Contract(filters=SLOW_NOISE), FORM, "a noise cutoff of 30 Hz is no filter at 50 Hz"),
        (Contract(filters=FilterChain(median=5)), FORM, "not of 5"),
        (Contract(hop=200), FORM, "leaves out samples"),
    ],
)
def test_what_the_app_cannot_serve_is_refused(tmp_path: Path, contract: Contract, form: Form, says: str) -> None:
    (tmp_path / "app").mkdir()
    with pytest.raises(InputError, match=says):
        android.check(contract, [form], tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_other_windows_labels_and_sensors_are_served(tmp_path: Path) -> None:
    accelerometer = [k for k, name in enumerate(Contract().channels) if "acc" in name]
    contract = Contract(
        window=64,
        hop=16,
        channels=tuple(Contract().channels[k] for k in accelerometer),
        units=("g",) * 6,
        labels=("still", "moving"),
    )
    (tmp_path / "app").mkdir()
    android.check(contract, [FORM], tmp_path)


def test_one_model_into_a_project_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    with pytest.raises(InputError, match="one model"):
        android.check(Contract(), [FORM, FORM], tmp_path)
    with pytest.raises(InputError, match="is no folder that holds app/"):
        android.check(Contract(), [FORM], tmp_path / "gone")


def test_all_three_files_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "new.tflite"
    model.write_bytes(b"new")
    assets = tmp_path / android.ASSETS
    android.place(model, Contract(), tmp_path)
    before = {path.name: path.read_bytes() for path in assets.iterdir()}
    assert sorted(before) == ["contract.json", "labels.txt", "model.tflite"]
    model.write_bytes(b"newer")
    written = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "contract.json" in path.name:
            raise OSError(28, "No space left on device")
        return written(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left"):
        android.place(model, Contract(), tmp_path)
    assert {path.name: path.read_bytes() for path in assets.iterdir()} == before
