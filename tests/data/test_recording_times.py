"""Times of recordings: their formats, units and order, and the rates of the sensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from harexport.cli import main
from harexport.data.recordings.reader import read_recordings
from harexport.errors import InputError
from harexport.preprocessing.stream import ACC, GYRO
from tests.data.walk import (
    ACCS,
    BARE,
    EDGE,
    GYROS,
    TIMES,
    WALK,
    assert_walk,
    change_lines,
    folder,
    predict,
    predict_json,
    read,
)
from tests.preprocessing.motion import SECOND, regular, resting, walking
from tests.preprocessing.phones import G, plain, written


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


def test_rows_out_of_order_are_sorted(tmp_path: Path) -> None:
    text = change_lines(lambda lines: [line for k in range(0, len(lines), 2) for line in lines[k : k + 2][::-1]])
    recording = read(written(tmp_path / "walk.csv", text))
    assert_walk(recording)
    assert any("sorted by time" in note for note in recording.notes)
    for change in (lambda lines: lines[::-1], lambda lines: np.random.default_rng(0).permutation(lines).tolist()):
        with pytest.raises(InputError, match="time runs backwards"):
            read(written(tmp_path / "walk.csv", change_lines(change)))


@pytest.mark.parametrize("time", ["0", "99999", "-1e6"])
def test_single_rows_with_a_wrong_time_are_left_out(time: str, tmp_path: Path) -> None:
    text = change_lines(lambda lines: [*lines[:99], f"{time},{lines[99].partition(',')[2]}", *lines[100:]])
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

    late = change_lines(lambda lines: [*map(without_gyro, lines[:200]), *lines[200:]])
    notes = predict_json(written(tmp_path / "walk.csv", late))["notes"]
    assert any("gyroscope has samples from 4.0 to 8.0 s only" in note for note in notes)
    command = ["predict", "--model", str(EDGE), "--follow", "--gyro-unit", "rad/s"]
    early = change_lines(lambda lines: [*lines[:200], *map(without_gyro, lines[200:])])
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


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_axis_without_a_signal_is_noted(axis: int, tmp_path: Path) -> None:
    accs = ACCS.copy()
    accs[:, axis] = accs[0, axis]
    (note,) = read(written(tmp_path / "walk.csv", plain(TIMES, accs, GYROS))).notes
    assert note.startswith(f"the {'xyz'[axis]} axis of the accelerometer is always {accs[0, axis]:g}")


def test_a_gyroscope_of_zeros_is_missing(tmp_path: Path) -> None:
    result = predict(written(tmp_path / "walk.csv", plain(TIMES, ACCS, GYROS * 0)))
    assert result.exit_code == 2
    assert "no gyroscope" in result.stderr
    assert "accelerometer alone" in result.stderr
