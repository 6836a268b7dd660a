"""A walk of eight seconds as people record it, and how tests read and predict it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from harexport.cli import main
from harexport.data.recordings.csv_format import Units
from harexport.data.recordings.reader import PhoneRecording, ReadOptions, read_recordings
from harexport.data.recordings.sensors import resolve_sensors
from harexport.model.contract import Contract
from harexport.preprocessing.stream import ACC, GYRO
from tests.preprocessing.motion import regular, walking
from tests.preprocessing.phones import G, plain, sensor_logger

TIMES = regular(8.0, 50)
ACCS, GYROS = walking(TIMES)
BARE = "timestamp_s,acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z"
METADATA = "version,platform,standardisation\n3,{},false\n"
WALK = plain(TIMES, ACCS * G, GYROS, BARE)
EDGE = Path(__file__).resolve().parents[2] / "artifacts" / "edge" / "edge.safetensors"


def predict(*arguments: str | Path, model: tuple[str | Path, ...] = ("--model", EDGE)) -> Result:
    """Run `predict` with a model that predicts windows without an estimate of the mounting."""
    return CliRunner().invoke(main, ["predict", "--no-picture", *map(str, (*model, *arguments))])


def predict_json(*arguments: str | Path) -> dict[str, Any]:
    result = predict("--json", *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def read(path: Path, units: Units | None = None) -> PhoneRecording:
    (recording,) = read_recordings(path, ReadOptions(units=units or Units()))
    return recording


def assert_walk(recording: PhoneRecording, units: Units | None = None, tolerance: float = 2e-3) -> tuple[str, ...]:
    """Check that a recording is the walk in its units; return what was inferred."""
    from harexport.preprocessing.stream import unit_divisor

    info = resolve_sensors(recording.tracks, Contract(), units or Units(), recording.name, recording.missing)
    for sensor, expected in ((ACC, ACCS), (GYRO, GYROS)):
        track = recording.tracks[sensor]
        values = track.values / unit_divisor(sensor, info.units[sensor])
        assert len(values) == len(expected)
        np.testing.assert_allclose(values, expected, rtol=0, atol=tolerance)
        np.testing.assert_allclose(track.time_ns - track.time_ns[0], TIMES - TIMES[0], rtol=0, atol=1_000_000)
    return info.notes


def folder(path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, "utf-8")
    return path


def session(begun_s: float = 0.0, scale: float = 1.0) -> dict[str, str]:
    return {
        "TotalAcceleration.csv": sensor_logger(TIMES, ACCS * G * scale, begun_s),
        "Gyroscope.csv": sensor_logger(TIMES, GYROS, begun_s),
    }


def change_lines(change: Any) -> str:
    """The walk with its lines after the header changed."""
    header, *lines = WALK.splitlines(keepends=True)
    return header + "".join(change(lines))
