"""Recordings of several sessions and devices: which files are one recording, and which signs it has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harexport.data.recordings.csv_format import Units
from harexport.data.recordings.reader import read_recordings
from harexport.preprocessing.stream import ACC, GYRO
from tests.data.walk import (
    ACCS,
    BARE,
    GYROS,
    METADATA,
    TIMES,
    WALK,
    assert_walk,
    folder,
    predict,
    predict_json,
    read,
    session,
)
from tests.preprocessing.motion import SECOND
from tests.preprocessing.phones import G, plain, rows, sensor_logger, written, zipped

# Sessions


@pytest.mark.parametrize("kind", ["zip", "folder", "side by side", "zips in a folder"])
def test_every_recording_is_predicted_under_its_name(kind: str, tmp_path: Path) -> None:
    nested = {f"{name}/{file}": text for name in ("a_walk", "b_walk") for file, text in session().items()}
    place = tmp_path / "week"
    if kind == "zip":
        place = zipped(tmp_path / "week.zip", nested)
    elif kind == "folder":
        folder(place, nested)
    elif kind == "zips in a folder":
        place.mkdir()
        for name in ("a_walk", "b_walk"):
            zipped(place / f"{name}.zip", session())
    else:
        folder(place, {"a_walk.csv": WALK, "b_walk.csv": WALK})
    names = [recording.name for recording in read_recordings(place)]
    assert len(names) == 2
    assert "a_walk" in names[0]
    assert "b_walk" in names[1]
    result = predict("--json", place)
    assert result.exit_code == 0, result.output
    assert [json.loads(line)["recording"] for line in result.stdout.splitlines()] == names
    summary = predict(place).stdout
    assert summary.count("windows;") == 2
    assert "recording" in summary.splitlines()[-3]


def test_several_paths(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a.csv", WALK), zipped(tmp_path / "b.zip", session())
    result = predict("--json", first, second)
    assert [json.loads(line)["recording"] for line in result.stdout.splitlines()] == ["a.csv", "b.zip"]
    refused = predict(first, second, "--picture", tmp_path / "one.png")
    assert refused.exit_code == 2


def test_one_bad_recording_does_not_stop_the_others(tmp_path: Path) -> None:
    place = folder(tmp_path / "week", {"a.csv": WALK, "b.csv": plain(TIMES[:60], ACCS[:60] * G, GYROS[:60], BARE)})
    result = predict("--json", place)
    assert result.exit_code == 2
    assert len(result.stdout.splitlines()) == 1
    assert "1 of 2 recordings" in result.stderr
    assert "b.csv" in result.stderr


def test_sensors_of_different_recordings_are_not_combined(tmp_path: Path) -> None:
    files = {
        "a/TotalAcceleration.csv": sensor_logger(TIMES, ACCS * G),
        "b/Gyroscope.csv": sensor_logger(TIMES, GYROS),
    }
    found = read_recordings(zipped(tmp_path / "two.zip", files))
    assert [set(recording.tracks) for recording in found] == [{ACC}, {GYRO}]


def test_two_files_per_recording_side_by_side(tmp_path: Path) -> None:
    header = "timestamp_s,x,y,z"
    files = {
        f"{name}_{sensor}.csv": header + "\n" + "".join(
            rows([t / SECOND, *v]) for t, v in zip(TIMES.tolist(), values.tolist(), strict=True)
        )
        for name in ("monday", "tuesday")
        for sensor, values in (("acc", ACCS), ("gyro", GYROS))
    }  # fmt: skip
    found = read_recordings(folder(tmp_path / "week", files))
    assert [recording.name for recording in found] == ["week/monday", "week/tuesday"]
    assert all(set(recording.tracks) == {ACC, GYRO} for recording in found)


@pytest.mark.parametrize("repeat_header", [False, True])
def test_a_file_of_two_recordings_is_split(repeat_header: bool, tmp_path: Path) -> None:
    second = WALK if repeat_header else WALK.partition("\n")[2]
    found = read_recordings(written(tmp_path / "walk.csv", WALK + second))
    assert [len(recording.tracks[ACC].time_ns) for recording in found] == [400, 400]
    assert "line 40" in found[1].name
    assert any("another recording begins" in note for note in found[1].notes)


def test_sensors_on_two_clocks_are_refused(tmp_path: Path) -> None:
    gyro = "timestamp_ns,gyro_x_rad/s,gyro_y_rad/s,gyro_z_rad/s\n" + "".join(
        rows([42 * 10**12 + t, *v]) for t, v in zip(TIMES.tolist(), GYROS.tolist(), strict=True)
    )
    acc = "timestamp_ms,acc_x,acc_y,acc_z\n" + "".join(
        rows([1_700_000_000_000 + t / 1e6, *v]) for t, v in zip(TIMES.tolist(), ACCS.tolist(), strict=True)
    )
    result = predict(folder(tmp_path / "two", {"acc.csv": acc, "gyro.csv": gyro}))
    assert result.exit_code == 2
    assert "do not overlap in time" in result.stderr


# Devices


def motion(sign: float = 1.0) -> str:
    """A motion file of a watch: gravity and acceleration without it, in g."""
    gravity = np.broadcast_to(ACCS.mean(axis=0), ACCS.shape)
    header = "time,seconds_elapsed,rotationRateX,rotationRateY,rotationRateZ,gravityX,gravityY,gravityZ,"
    header += "accelerationX,accelerationY,accelerationZ\n"
    columns = zip(TIMES.tolist(), GYROS, sign * gravity, sign * (ACCS - gravity), strict=True)
    return header + "".join(rows([t, t / SECOND, *g, *up, *a]) for t, g, up, a in columns)


def test_watch_and_phone_are_not_combined(tmp_path: Path) -> None:
    place = folder(
        tmp_path / "rec",
        {"TotalAcceleration.csv": sensor_logger(TIMES, ACCS * G), "WristMotion.csv": motion(),
         "Metadata.csv": METADATA.format("android")},
    )  # fmt: skip
    result = predict(place)
    assert result.exit_code == 2
    assert "no gyroscope" in result.stderr
    assert "WristMotion.csv has one, but of another device (watch)" in result.stderr
    default = predict(place, model=())
    assert default.exit_code == 0, default.stderr
    printed = " ".join(default.stdout.split()).lower()
    assert "no gyroscope (wristmotion.csv has one, but of another device (watch))" in printed


def test_the_phone_is_used_and_the_watch_is_mentioned(tmp_path: Path) -> None:
    files = {**session(), "WristMotion.csv": motion(), "Metadata.csv": METADATA.format("android")}
    recording = read(folder(tmp_path / "rec", files))
    assert_walk(recording)
    assert recording.device == "phone"
    assert any("WristMotion.csv is of another device (watch)" in note for note in recording.notes)


@pytest.mark.parametrize(("platform", "sign"), [("ios", -1.0), ("android", 1.0)])
def test_a_watch_alone(platform: str, sign: float, tmp_path: Path) -> None:
    files = {"WristMotion.csv": motion(sign), "Metadata.csv": METADATA.format(platform)}
    recording = read(folder(tmp_path / "rec", files))
    notes = assert_walk(recording)
    assert recording.device == "watch"
    assert any("(watch)" in note for note in recording.notes)
    assert any("in g, inferred from gravity" in note for note in notes)


def test_an_iphone_without_metadata(tmp_path: Path) -> None:
    gravity = np.broadcast_to(ACCS.mean(axis=0), ACCS.shape)
    files = {
        "Accelerometer.csv": sensor_logger(TIMES, -(ACCS - gravity) * G),
        "Gravity.csv": sensor_logger(TIMES, -gravity * G),
        "Gyroscope.csv": sensor_logger(TIMES, GYROS),
    }
    place = folder(tmp_path / "rec", files)
    recording = read(place)
    assert_walk(recording)
    assert any("signs of the acceleration were turned" in note and "--signs" in note for note in recording.notes)
    kept = read(place, Units(signs="android"))
    np.testing.assert_allclose(kept.tracks[ACC].values, -ACCS * G, rtol=0, atol=1e-3)


def test_signs_of_a_plain_file(tmp_path: Path) -> None:
    path = written(tmp_path / "walk.csv", plain(TIMES, -ACCS * G, GYROS, BARE))
    assert_walk(read(path, Units(signs="apple")))


def test_annotations_are_labels(tmp_path: Path) -> None:
    annotations = "time,seconds_elapsed,text,millisecond_press_duration\n1,0.5,STANDING,0\n2,4.0,WALKING,0\n"
    recording = read(folder(tmp_path / "rec", {**session(), "Annotation.csv": annotations}))
    zero = int(recording.tracks[ACC].time_ns[0])
    assert recording.label_between(zero + 1 * SECOND, zero + 2 * SECOND) == "STANDING"
    assert recording.label_between(zero + 5 * SECOND, zero + 6 * SECOND) == "WALKING"
    assert recording.label_between(zero + 3 * SECOND, zero + 6 * SECOND) is None
    assert recording.label_between(zero, zero + SECOND // 10) is None
    assert predict_json(tmp_path / "rec")["agreement"]["windows"] >= 1
