"""Recordings as users have them: sessions, devices, units, signs, clocks, rates and headers of many loggers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harexport.cli import main
from harexport.data.recordings.csv_format import Units
from harexport.data.recordings.reader import PhoneRecording, ReadOptions, read_recordings
from harexport.data.recordings.sensors import resolve_sensors
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.preprocessing.stream import ACC, GYRO
from tests.preprocessing.motion import SECOND, regular, resting, walking
from tests.preprocessing.phones import G, plain, rows, sensor_logger, written, zipped

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


# Units


@pytest.mark.parametrize(
    ("header", "acc_scale", "gyro_scale", "options"),
    [
        ("timestamp_s,acc_x_mg,acc_y_mg,acc_z_mg,gyro_x,gyro_y,gyro_z", 1000.0, 1.0, ()),
        ("timestamp_s,acc_x (mg),acc_y (mg),acc_z (mg),gyro_x,gyro_y,gyro_z", 1000.0, 1.0, ()),
        ("timestamp_s,acc_x,acc_y,acc_z,gyro_x (mdps),gyro_y (mdps),gyro_z (mdps)", 1.0, 180_000 / np.pi, ()),
        (BARE, 1000.0, 1.0, ("--acc-unit", "mg")),
        (BARE, 16384.0, 131 * 180 / np.pi, ("--acc-unit", "16384/g", "--gyro-unit", "131/dps")),
        (BARE, 1.0, 180 / np.pi, ()),
    ],
)
def test_units(header: str, acc_scale: float, gyro_scale: float, options: tuple[str, ...], tmp_path: Path) -> None:
    path = written(tmp_path / "walk.csv", plain(TIMES, ACCS * acc_scale, GYROS * gyro_scale, header))
    plain_g = written(tmp_path / "same.csv", plain(TIMES, ACCS, GYROS))
    found, expected = predict_json(path, *options), predict_json(plain_g)
    assert [w["activity"] for w in found["windows"]] == [w["activity"] for w in expected["windows"]]


def test_a_knock_does_not_decide_the_unit_of_the_gyroscope(tmp_path: Path) -> None:
    """Standing, with noise of 1 deg/s and one knock: as rad/s it would be 60 degrees per second of rotation."""
    times = regular(20.0, 50)
    acc, _ = resting(times)
    gyro = np.random.default_rng(0).normal(0, 1.0, (len(times), 3))
    acc[500:503] += 0.8
    gyro[500:503] *= 30
    content = predict_json(written(tmp_path / "stand.csv", plain(times, acc * G, gyro, BARE)))
    assert content["units"][GYRO] == "deg/s"
    assert any("deg/s, inferred" in note and "--gyro-unit" in note for note in content["notes"])


def test_a_doubtful_unit_is_asked_for(tmp_path: Path) -> None:
    times = regular(20.0, 50)
    acc, _ = resting(times)
    gyro = np.random.default_rng(0).normal(0, 0.04, (len(times), 3))
    acc[500:503] += 0.8
    result = predict(written(tmp_path / "stand.csv", plain(times, acc * G, gyro, BARE)))
    assert result.exit_code == 2
    assert "--gyro-unit rad/s" in result.stderr


@pytest.mark.parametrize(
    ("scale", "hint"), [(1000.0, "--acc-unit mg, or state the counts"), (16384.0, "--acc-unit 16384/g")]
)
def test_large_accelerations_are_milli_g_or_counts(scale: float, hint: str, tmp_path: Path) -> None:
    result = predict(written(tmp_path / "walk.csv", plain(TIMES, ACCS * scale, GYROS, BARE)))
    assert result.exit_code == 2
    assert hint in result.stderr
    mdps = predict(written(tmp_path / "walk.csv", plain(TIMES, ACCS, np.rad2deg(GYROS) * 1000, BARE)))
    assert "--gyro-unit mdps" in mdps.stderr


def test_inferred_units_are_printed(tmp_path: Path) -> None:
    output = " ".join(predict(written(tmp_path / "walk.csv", WALK)).stdout.split())
    assert "accelerometer is in m/s2, inferred from gravity; to change it, pass --acc-unit" in output
    assert "gyroscope is in rad/s, inferred" in output


@pytest.mark.parametrize(
    "header",
    [
        "Time (s);Accel X (G's);Accel Y (G's);Accel Z (G's);Gyro X (deg/sec);Gyro Y (deg/sec);Gyro Z (deg/sec)",
        "time;ax [g];ay [g];az [g];gx [deg/s];gy [deg/s];gz [deg/s]",
        "time;acc_x;acc_y;acc_z;gyro_x;gyro_y;gyro_z\ns;g;g;g;deg/s;deg/s;deg/s",
    ],
)
def test_units_in_other_words(header: str, tmp_path: Path) -> None:
    text = plain(TIMES, ACCS, np.rad2deg(GYROS), "").lstrip("\n").replace(",", ";")
    assert assert_walk(read(written(tmp_path / "walk.csv", f"{header}\n{text}"))) == ()


@pytest.mark.parametrize("acc", ["accelerometerAcceleration{}(G)", "userAcceleration.{0}(g) gravity.{0}(g)"])
def test_names_of_ios_have_its_signs(acc: str, tmp_path: Path) -> None:
    gravity = np.broadcast_to(ACCS.mean(axis=0), ACCS.shape)
    parts = [-ACCS] if " " not in acc else [-(ACCS - gravity), -gravity]
    names = ["loggingTime(txt)", *(name.format(axis) for name in acc.split() for axis in "XYZ")]
    names += [f"rotationRate{axis}(rad/s)" for axis in "XYZ"]
    stamps = [f"2024-01-01 10:00:{t / SECOND:06.3f} +0100" for t in TIMES.tolist()]
    columns = zip(stamps, *parts, GYROS, strict=True)
    text = (
        ",".join(names)
        + "\n"
        + "".join(rows([t, *(value for part in vectors for value in part)]) for t, *vectors in columns)
    )
    recording = read(written(tmp_path / "walk.csv", text))
    assert_walk(recording)
    assert any("signs of the acceleration were turned" in note for note in recording.notes)
    kept = read(tmp_path / "walk.csv", Units(signs="android"))
    np.testing.assert_allclose(kept.tracks[ACC].values, -ACCS, rtol=0, atol=1e-3)
    if len(parts) == 1:  # a stream needs the total acceleration
        options = (*("--model", str(EDGE)), "--follow", "--mount", "as-is")
        turned, other = (
            CliRunner().invoke(main, ["predict", *options, *more], input=text) for more in ((), ("--signs", "android"))
        )
        assert "names that iOS uses" in turned.stderr
        assert turned.stdout != other.stdout


# Times and rates


def _with_times(times: list[str], header: str = "timestamp") -> str:
    lines = [f"{header},acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z"]
    lines += [",".join([t, *map(str, [*a, *g])]) for t, a, g in zip(times, ACCS * G, GYROS, strict=True)]
    return "\n".join(lines) + "\n"


def _clock(t: int, form: str) -> str:
    ms = t // 1_000_000
    parts = {"h": 10, "m": 30, "s": ms // 1000, "ms": ms % 1000}
    return form.format(**parts)


@pytest.mark.parametrize(
    "form",
    [
        "2024-01-15T{h:02d}:{m:02d}:{s:02d}.{ms:03d}Z",
        "2024-01-15T{h:02d}:{m:02d}:{s:02d}.{ms:03d}+05:30",
        "2024-01-15 {h:02d}:{m:02d}:{s:02d}.{ms:03d}",
        "2024-01-15 {h:02d}:{m:02d}:{s:02d},{ms:03d}".replace(",", "."),
        "15.01.2024 {h:02d}:{m:02d}:{s:02d}.{ms:03d}",
        "1/15/2024 {h:d}:{m:02d}:{s:02d}.{ms:03d} AM",
        "2024-01-15 {h:02d}-{m:02d}-{s:02d}_{ms:03d}",
        "{h:02d}:{m:02d}:{s:02d}.{ms:03d}",
        "{h:02d}:{m:02d}:{s:02d}:{ms:03d}",
        "{m:02d}:{s:02d}.{ms:03d}",
        "20240115T{h:02d}{m:02d}{s:02d}.{ms:03d}+0100",
        "15-Jan-2024 {h:02d}:{m:02d}:{s:02d}.{ms:03d}",
    ],
)
@pytest.mark.parametrize("header", ["timestamp", "timestamp_ms", "date"])
def test_dates_and_times_of_day(form: str, header: str, tmp_path: Path) -> None:
    text = _with_times([_clock(t, form) for t in TIMES.tolist()], header)
    assert_walk(read(written(tmp_path / "walk.csv", text)))


def _lines(change: Any) -> str:
    """The walk with its lines after the header changed."""
    header, *lines = WALK.splitlines(keepends=True)
    return header + "".join(change(lines))


def test_rows_out_of_order_are_sorted(tmp_path: Path) -> None:
    text = _lines(lambda lines: [line for k in range(0, len(lines), 2) for line in lines[k : k + 2][::-1]])
    recording = read(written(tmp_path / "walk.csv", text))
    assert_walk(recording)
    assert any("sorted by time" in note for note in recording.notes)
    for change in (lambda lines: lines[::-1], lambda lines: np.random.default_rng(0).permutation(lines).tolist()):
        with pytest.raises(InputError, match="time runs backwards"):
            read(written(tmp_path / "walk.csv", _lines(change)))


@pytest.mark.parametrize("time", ["0", "99999", "-1e6"])
def test_single_rows_with_a_wrong_time_are_left_out(time: str, tmp_path: Path) -> None:
    text = _lines(lambda lines: [*lines[:99], f"{time},{lines[99].partition(',')[2]}", *lines[100:]])
    recording = read(written(tmp_path / "walk.csv", text))
    assert any("left out" in note and "lines 101" in note for note in recording.notes)
    assert recording.tracks[ACC].time_ns.tolist() == np.delete(TIMES, 99).tolist()


def test_a_clock_that_is_set_separates_recordings(tmp_path: Path) -> None:
    times = np.where(TIMES < 2 * SECOND, TIMES, TIMES + 1_700_000_000 * SECOND)
    found = read_recordings(written(tmp_path / "walk.csv", plain(times, ACCS * G, GYROS, BARE)))
    assert [len(recording.tracks[ACC].time_ns) for recording in found] == [100, 300]


def test_minutes(tmp_path: Path) -> None:
    text = plain(TIMES, ACCS * G, GYROS, BARE.replace("timestamp_s", "time (min)"))
    lines = [text.partition("\n")[0]]
    lines += [
        f"{t / 60e9!r},{line.partition(',')[2]}" for t, line in zip(TIMES.tolist(), text.splitlines()[1:], strict=True)
    ]
    assert_walk(read(written(tmp_path / "walk.csv", "\n".join(lines) + "\n")))


def test_a_sensor_that_starts_late_or_ends_early_is_noted(tmp_path: Path) -> None:
    def without_gyro(line: str) -> str:
        return ",".join(line.split(",")[:4]) + ",,,\n"

    late = _lines(lambda lines: [*map(without_gyro, lines[:200]), *lines[200:]])
    notes = predict_json(written(tmp_path / "walk.csv", late))["notes"]
    assert any("gyroscope has samples from 4.0 to 8.0 s only" in note for note in notes)
    command = ["predict", "--model", str(EDGE), "--follow", "--gyro-unit", "rad/s"]
    early = _lines(lambda lines: [*lines[:200], *map(without_gyro, lines[200:])])
    assert "gyroscope has samples from 0.0 to 4.0 s only" in CliRunner().invoke(main, command, input=early).stderr


def test_a_short_recording_is_refused_before_its_units_are_inferred(tmp_path: Path) -> None:
    result = predict(written(tmp_path / "walk.csv", "".join(WALK.splitlines(keepends=True)[:50])))
    assert result.exit_code == 2
    assert "1.0 s of recording hold no 2.56 s" in result.stderr


def test_a_stream_names_a_sensor_without_a_signal() -> None:
    header = "timestamp_s,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,gyro_x_rad/s,gyro_y_rad/s,gyro_z_rad/s"
    result = CliRunner().invoke(main, ["predict", "--follow"], input=plain(TIMES, ACCS * G, GYROS * 0, header))
    assert result.exit_code == 0
    assert "the gyroscope has no signal so far: all its values in standard input are 0" in result.stderr


@pytest.mark.parametrize("hold", ["values", "times"])
def test_a_stream_that_cannot_be_repaired_is_refused(hold: str, tmp_path: Path) -> None:
    header = "timestamp_s,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,gyro_x_rad/s,gyro_y_rad/s,gyro_z_rad/s"
    shown = np.arange(len(TIMES)) // 2 * 2
    times, values = (TIMES, shown) if hold == "values" else (TIMES[shown // 10 * 10], np.arange(len(TIMES)))
    text = plain(times, ACCS[values] * G, GYROS[values], header)
    result = CliRunner().invoke(main, ["predict", "--follow"], input=text)
    assert result.exit_code == 2
    assert "pass the recording as a file" in result.stderr


def test_a_time_of_day_passes_midnight(tmp_path: Path) -> None:
    ms = [86_396_000 + t // 1_000_000 for t in TIMES.tolist()]
    times = [f"{m // 3_600_000 % 24:02d}:{m // 60_000 % 60:02d}:{m // 1000 % 60:02d}.{m % 1000:03d}" for m in ms]
    assert_walk(read(written(tmp_path / "walk.csv", _with_times(times))))


@pytest.mark.parametrize("counts_on", [False, True], ids=["of the second", "since the start"])
def test_a_date_and_a_column_of_milliseconds(counts_on: bool, tmp_path: Path) -> None:
    lines = ["Timestamp,Milliseconds,X,Y,Z"]
    files, limit = {}, 10**9 if counts_on else 1000
    for name, values in (("Accelerometer", ACCS * G), ("Gyroscope", GYROS)):
        body = [
            f"{_clock(t, '2024-01-15 {h:02d}:{m:02d}:{s:02d}')},{t // 1_000_000 % limit},{x},{y},{z}"
            for t, (x, y, z) in zip(TIMES.tolist(), values.tolist(), strict=True)
        ]
        files[f"{name}.csv"] = "\n".join(lines + body) + "\n"
    assert_walk(read(folder(tmp_path / "rec", files)))


@pytest.mark.parametrize(("unit", "ns"), [("s", SECOND), ("ms", 10**6), ("us", 10**3), ("ns", 1)])
@pytest.mark.parametrize("epoch_s", [0, 1_700_000_000])
def test_the_unit_of_times_is_inferred(unit: str, ns: int, epoch_s: int, tmp_path: Path) -> None:
    scaled = [(epoch_s * SECOND + t) / ns if unit == "s" else (epoch_s * SECOND + t) // ns for t in TIMES.tolist()]
    recording = read(
        written(tmp_path / "walk.csv", _with_times([f"{t:.3f}" if unit == "s" else str(t) for t in scaled]))
    )
    assert_walk(recording)
    assert any(f"times are in {unit}, inferred" in note and "--time-unit" in note for note in recording.notes)


def test_a_header_that_contradicts_the_times_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "walk.csv", WALK.replace("timestamp_s", "timestamp_ms"))
    result = predict(path)
    assert result.exit_code == 2
    assert "probably in s: pass --time-unit s" in result.stderr
    assert predict_json(path, "--time-unit", "s")["seconds"] == pytest.approx(7.98)


def test_batched_timestamps_are_spread(tmp_path: Path) -> None:
    stamps = [TIMES[min(len(TIMES) - 1, k - k % 5 + 4)] / 1e9 for k in range(len(TIMES))]
    recording = read(written(tmp_path / "walk.csv", _with_times([f"{t:.3f}" for t in stamps], "timestamp_s")))
    assert_walk(recording)
    assert any("spread evenly" in note and "50.0 Hz" in note for note in recording.notes)


def _held(acc_hz: float, gyro_hz: float) -> str:
    """One row per event of either sensor; the other one's last value is repeated."""
    slow, fast = regular(20.0, acc_hz), regular(20.0, gyro_hz)
    acc, gyro = walking(slow)[0] * G, walking(fast)[1]
    events: list[tuple[int, int, int]] = sorted(
        [(t, 0, k) for k, t in enumerate(slow.tolist())] + [(t, 1, k) for k, t in enumerate(fast.tolist())]
    )
    last, lines = [0, 0], [BARE]
    for t, sensor, k in events:
        last[sensor] = k
        lines.append(",".join(map(str, [t / SECOND, *acc[last[0]], *gyro[last[1]]])))
    return "\n".join(lines) + "\n"


def test_repeated_values_of_a_slower_sensor_are_dropped(tmp_path: Path) -> None:
    content = predict_json(written(tmp_path / "walk.csv", _held(20.0, 50.0)))
    assert content["rates_hz"][ACC] == pytest.approx(20.0, abs=0.3)
    assert any("accelerometer repeats its last value" in note for note in content["notes"])
    assert any("accelerometer has 20.0 Hz" in note for note in content["notes"])
    slow = predict(written(tmp_path / "slow.csv", _held(5.0, 50.0)))
    assert slow.exit_code == 2
    assert "5.0 samples per second" in slow.stderr


def test_coarse_values_at_rest_are_no_repetitions(tmp_path: Path) -> None:
    times = regular(20.0, 50)
    acc, gyro = walking(times)
    acc[:600], gyro[:600] = resting(times)[0][:600], 0.0
    text = plain(times, np.round(acc, 2), np.round(gyro, 1))
    assert predict_json(written(tmp_path / "walk.csv", text))["rates_hz"] == {ACC: 50.0, GYRO: 50.0}


@pytest.mark.parametrize("rate", [20.0, 25.0, 33.3, 45.0])
def test_rates_from_20_hz_are_accepted_with_a_note(rate: float, tmp_path: Path) -> None:
    times = regular(20.0, rate)
    content = predict_json(written(tmp_path / "walk.csv", plain(times, *walking(times))))
    assert content["rates_hz"][ACC] == pytest.approx(rate, rel=0.01)
    noted = any("the model was trained at 50 Hz" in note for note in content["notes"])
    assert noted is (rate < 45)
    assert [w["doubt"] for w in content["windows"][1:]] == [None] * (len(content["windows"]) - 1)


def test_a_gyroscope_of_zeros_is_missing(tmp_path: Path) -> None:
    result = predict(written(tmp_path / "walk.csv", plain(TIMES, ACCS, GYROS * 0)))
    assert result.exit_code == 2
    assert "no gyroscope" in result.stderr
    assert "accelerometer alone" in result.stderr


# Files


@pytest.mark.parametrize(
    "header",
    [
        "timestamp_ms,ax,ay,az,gx,gy,gz",
        "timestamp,accX,accY,accZ,gyrX,gyrY,gyrZ",
        "elapsed_ms,AccelX,AccelY,AccelZ,GyroX,GyroY,GyroZ",
        "millis,ax,ay,az,gx,gy,gz",
        "timestamp_ms,x-axis,y-axis,z-axis,gx,gy,gz",
        "time_ms,accelerometer_x,accelerometer_y,accelerometer_z,gyroscope_x,gyroscope_y,gyroscope_z",
        "Time since start in ms,ACCELEROMETER X (m/s²),ACCELEROMETER Y (m/s²),ACCELEROMETER Z (m/s²),"
        "GYROSCOPE X (rad/s),GYROSCOPE Y (rad/s),GYROSCOPE Z (rad/s)",
        "timestamp (ms),xAcc,yAcc,zAcc,xGyro,yGyro,zGyro",
        "epoch_ms,imu_acc_x,imu_acc_y,imu_acc_z,imu_gyro_x,imu_gyro_y,imu_gyro_z",
    ],
)
def test_headers_of_loggers(header: str, tmp_path: Path) -> None:
    body = "".join(
        rows([t // 1_000_000, *a, *g])
        for t, a, g in zip(TIMES.tolist(), (ACCS * G).tolist(), GYROS.tolist(), strict=True)
    )
    assert_walk(read(written(tmp_path / "walk.csv", f"{header}\n{body}")))


def test_units_in_the_names(tmp_path: Path) -> None:
    header = "time_ms,AccX_g,AccY_g,AccZ_g,GyroX_dps,GyroY_dps,GyroZ_dps"
    columns = zip(TIMES.tolist(), ACCS.tolist(), np.rad2deg(GYROS).tolist(), strict=True)
    text = header + "\n" + "".join(rows([t // 1_000_000, *a, *g]) for t, a, g in columns)
    assert assert_walk(read(written(tmp_path / "walk.csv", text))) == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "sep=;\n" + text.replace(",", ";"),
        lambda text: '"sep=\t"\n' + text.replace(",", "\t"),
        lambda text: "# app 1.2\n# phone: x\n" + text,
        lambda text: "// a comment\n\n" + text,
        lambda text: text.partition("\n")[0] + "\n" + text.partition("\n")[2].replace("\n", ",\n"),
        lambda text: text.replace("\n", ",\n"),
        lambda text: text.replace(",", " "),
        lambda text: text.replace(",", ", "),
        lambda text: text.replace(",", "\t"),
        lambda text: "\ufeff" + text.replace("\n", "\r\n"),
        lambda text: text.replace("timestamp_s", '"timestamp_s"'),
        lambda text: "Recorded by a friend\nin 2024\n" + text,
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-32"),
        lambda text: text.encode() + b"\0" * 4096,
        lambda text: text.replace("\n0.4,", "\n\ufeff0.4,"),
    ],
)
def test_separators_and_comments(change: Any, tmp_path: Path) -> None:
    assert_walk(read(written(tmp_path / "walk.csv", change(WALK))))


def test_missing_values_in_other_words(tmp_path: Path) -> None:
    text = _lines(lambda lines: [*lines[:99], f"{TIMES[99] / SECOND},NA,null,n/a,None,nan,NULL\n", *lines[100:]])
    values = read(written(tmp_path / "walk.csv", text)).tracks[ACC].values
    assert np.flatnonzero(np.isnan(values).all(axis=1)).tolist() == [99]


def test_a_gyroscope_without_a_number_is_missing(tmp_path: Path) -> None:
    content = json.loads(
        predict("--json", written(tmp_path / "walk.csv", plain(TIMES, ACCS, GYROS * np.nan)), model=()).stdout
    )
    assert list(content["units"]) == [ACC]
    assert any("none of its values" in note for note in content["notes"])


@pytest.mark.parametrize("names", [("Accelerometer", "Gyroscope"), ("1", "4"), ("ACC", "GYRO")])
def test_a_row_for_each_sensor(names: tuple[str, str], tmp_path: Path) -> None:
    header, lines = "time,sensor,x,y,z", []
    for t, acc, gyro in zip(TIMES.tolist(), ACCS * G, GYROS, strict=True):
        lines += [
            rows([t / SECOND, names[0], *acc]),
            rows([t / SECOND, "magnetometer", *acc]),
            rows([t / SECOND, names[1], *gyro]),
        ]
    text = f"{header}\n{''.join(lines)}"
    assert_walk(read(written(tmp_path / "walk.csv", text)))
    units = ("--acc-unit", "m/s2", "--gyro-unit", "rad/s", "--mount", "as-is")
    result = CliRunner().invoke(main, ["predict", "--model", str(EDGE), "--follow", *units], input=text)
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) == (400 - 128) // 64 + 1
    with pytest.raises(InputError, match="no row is of an accelerometer"):
        read(
            written(tmp_path / "walk.csv", text.replace(f",{names[0]},", ",light,").replace(f",{names[1]},", ",sound,"))
        )


def test_android_names(tmp_path: Path) -> None:
    names = [f"android.sensor.{sensor}.{axis}" for sensor in ("accelerometer", "gyroscope") for axis in "xyz"]
    assert_walk(read(written(tmp_path / "walk.csv", plain(TIMES, ACCS * G, GYROS, ",".join(["timestamp", *names])))))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x1f\x8b\x08\x00" + bytes(50), "compressed with gzip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an Excel workbook"),
        (b"SQLite format 3\0" + bytes(90), "a SQLite database"),
    ],
)
def test_other_files_are_named(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        read_recordings(written(tmp_path / "walk.csv", content))


def test_zips_in_a_zip_and_workbooks_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"other zips \(a\.zip\); unpack it"):
        read_recordings(zipped(tmp_path / "week.zip", {"a.zip": "PK"}))
    with pytest.raises(InputError, match="an Excel workbook"):
        read_recordings(zipped(tmp_path / "walk.xlsx", {"xl/workbook.xml": "<workbook/>"}))


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, for whom no folder is locked."""
    folder(tmp_path / "week", {"monday.csv": WALK, "locked/tuesday.csv": WALK})
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match="locked: Permission denied"):
        read_recordings(tmp_path / "week")


def test_pictures_of_recordings_with_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    names = ("a/walk.csv", "b/walk.csv", "walk-2.csv")
    place, out = folder(tmp_path, dict.fromkeys(names, WALK)), tmp_path / "out"
    arguments = [*(str(place / name) for name in names), "--model", str(EDGE), "--out", str(out)]
    assert CliRunner().invoke(main, ["predict", *arguments]).exit_code == 0
    pictures = sorted(path.name for path in out.glob("*.png"))
    assert pictures == [f"walk{end}.activities.png" for end in ("-2-2", "-2", "")]


def test_unrecognized_columns_get_a_configuration(tmp_path: Path) -> None:
    text = WALK.replace(BARE, "zeit,s1,s2,s3,s4,s5,s6")
    path = written(tmp_path / "walk.csv", text)
    result = predict(path)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    start = lines.index("[columns]")
    toml = "\n".join(lines[start : start + 4])
    assert toml == '[columns]\ntime = "zeit"\nacc = ["s1", "s2", "s3"]\ngyro = ["s4", "s5", "s6"]'
    config = folder(tmp_path / "config", {"harexport.toml": toml + '\n[units]\ntime = "s"\n'})
    assert predict_json(path, "--data", config)["seconds"] == pytest.approx(7.98)


def test_damaged_zips_end_in_our_error(tmp_path: Path) -> None:
    good = zipped(tmp_path / "good.zip", session()).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(good)
        for at in (
            rng.integers(0, len(damaged), 3).tolist() + rng.integers(len(damaged) - 300, len(damaged), 2).tolist()
        ):
            damaged[at] ^= int(rng.integers(1, 256))
        path = written(tmp_path / "bad.zip", bytes(damaged))
        try:
            read_recordings(path)
        except InputError:
            continue


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "walk.csv")
    with pytest.raises(InputError, match="not a regular file"):
        read_recordings(tmp_path / "walk.csv")


def test_headers_are_recognized_in_linear_time(tmp_path: Path) -> None:
    for name in ("(" * 9000, "a" * 9000 + "x", "x" * 9000, " (" * 5000, "_" * 9000 + "x"):
        with pytest.raises(InputError):
            read_recordings(written(tmp_path / "walk.csv", f"timestamp_s,{name}\n1,2\n"))
