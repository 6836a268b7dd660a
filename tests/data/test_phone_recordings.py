"""Reader of recordings: formats of loggers, columns, units, delimiters and encodings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harexport.data.recordings.csv_format import recognize_layout
from harexport.data.recordings.reader import read_recording
from harexport.data.recordings.sensors import check_rate, estimate_rate, infer_acceleration_unit, infer_gyroscope_unit
from harexport.errors import InputError
from harexport.preprocessing.stream import ACC, GYRO
from tests.preprocessing.motion import SECOND, regular, resting, walking
from tests.preprocessing.phones import G, phyphox, plain, sensor_logger, written, zipped

TIMES = regular(4.0, 50)
ACCS, GYROS = walking(TIMES)
METADATA = (
    "version,device name,recording time,platform,appVersion,sensors,sampleRateMs,standardisation\n3,A,B,{},1,C,0,{}\n"
)


def assert_read(path: Path, unit: str = "m/s2", scale: float = G, tolerance: float = 1e-6) -> None:
    """Check that `path` contains both sensors of the walk."""
    tracks = read_recording(path).tracks
    assert set(tracks) == {ACC, GYRO}
    for sensor, expected in ((ACC, ACCS * scale), (GYRO, GYROS)):
        steps = tracks[sensor].time_ns - tracks[sensor].time_ns[0]
        np.testing.assert_allclose(steps, TIMES - TIMES[0], rtol=0, atol=1000)
        np.testing.assert_allclose(tracks[sensor].values, expected, rtol=0, atol=tolerance)
    assert tracks[ACC].unit == unit
    assert tracks[GYRO].unit == "rad/s"


def test_sensor_logger_as_zip_and_as_folder(tmp_path: Path) -> None:
    files = {
        "TotalAcceleration.csv": sensor_logger(TIMES, ACCS * G),
        "Accelerometer.csv": sensor_logger(TIMES, (ACCS - ACCS.mean(0)) * G),
        "AccelerometerUncalibrated.csv": sensor_logger(TIMES, ACCS * 99),
        "Gyroscope.csv": sensor_logger(TIMES, GYROS),
        "GyroscopeUncalibrated.csv": sensor_logger(TIMES, GYROS + 1),
        "Location.csv": "time,seconds_elapsed,latitude,longitude\n1,0.1,2,3\n",
        "Annotation.csv": "time,seconds_elapsed,text,millisecond_press_duration\n",
        "Metadata.csv": METADATA.format("android", "false"),
    }
    assert_read(zipped(tmp_path / "walk.zip", files))
    folder = tmp_path / "walk"
    folder.mkdir()
    for name, text in files.items():
        written(folder / name, text)
    assert_read(folder)
    assert read_recording(folder).family == "Sensor Logger"


def test_uncalibrated_acceleration_of_sensor_logger_is_the_second_choice(tmp_path: Path) -> None:
    """On iPhones it is in g, on Android in m/s2, so the unit is inferred from gravity."""
    path = zipped(
        tmp_path / "walk.zip",
        {"AccelerometerUncalibrated.csv": sensor_logger(TIMES, ACCS), "Gyroscope.csv": sensor_logger(TIMES, GYROS)},
    )
    track = read_recording(path).tracks[ACC]
    assert track.unit is None
    assert infer_acceleration_unit(track.time_ns, track.values, None, "walk") == "g"


@pytest.mark.parametrize(
    ("platform", "standardized", "sign"),
    [("ios", "false", -1), ("iOS", "", -1), ("ios", "true", 1), ("android", "", 1)],
)
def test_gravity_of_an_iphone_is_added_and_its_signs_are_turned(
    platform: str, standardized: str, sign: int, tmp_path: Path
) -> None:
    gravity = np.broadcast_to(np.array([0.9, -0.3, 0.3]), ACCS.shape)
    at = regular(4.1, 100, -0.015)  # gravity at other times and another rate
    files = {
        "Accelerometer.csv": sensor_logger(TIMES, sign * (ACCS - gravity) * G),
        "Gravity.csv": sensor_logger(at, sign * np.broadcast_to(gravity[0], (len(at), 3)) * G),
        "Gyroscope.csv": sensor_logger(TIMES, GYROS),
        "Metadata.csv": METADATA.format(platform, standardized),
    }
    path = zipped(tmp_path / "walk.zip", files)
    assert_read(path)
    assert any("sum of linear acceleration and gravity" in note for note in read_recording(path).notes)
    assert any("signs of the acceleration were turned" in note for note in read_recording(path).notes) is (sign == -1)


@pytest.mark.parametrize(("delimiter", "decimal"), [(",", "."), (";", "."), ("\t", "."), (";", ","), ("\t", ",")])
def test_phyphox_in_all_its_formats(delimiter: str, decimal: str, tmp_path: Path) -> None:
    files = {
        "Accelerometer.csv": phyphox(TIMES, ACCS * G, delimiter=delimiter, decimal=decimal),
        "Gyroscope.csv": phyphox(TIMES, GYROS, "Gyroscope {} (rad/s)", delimiter, decimal),
        "Linear Acceleration.csv": phyphox(TIMES, ACCS, "Linear Acceleration {} (m/s^2)", delimiter, decimal),
        "meta/device.csv": '"property","value"\n"version","1.1"\n',
        "meta/time.csv": '"event","experiment time","system time"\n"START",0,1\n',
    }
    path = zipped(tmp_path / "walk.zip", files)
    assert_read(path)
    assert read_recording(path).family == "phyphox"


def test_table_with_empty_cells_for_two_rates(tmp_path: Path) -> None:
    times = regular(2.0, 40, 0.003)
    lines = [(t, f"{t},{a[0]},{a[1]},{a[2]},,,\n") for t, a in zip(TIMES.tolist(), ACCS, strict=True)]
    lines += [(t, f"{t},,,,{a[0]},{a[1]},{a[2]}\n") for t, a in zip(times.tolist(), walking(times)[1], strict=True)]
    text = "timestamp_ns,acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z\n" + "".join(line for _, line in sorted(lines))
    tracks = read_recording(written(tmp_path / "walk.csv", text)).tracks
    assert np.array_equal(tracks[ACC].time_ns, TIMES)
    assert np.array_equal(tracks[GYRO].time_ns, times)
    assert tracks[ACC].unit is tracks[GYRO].unit is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(encoding: str, newline: str, tmp_path: Path) -> None:
    header = "timestamp_s,acc_x (m/s²),acc_y (m/s²),acc_z (m/s²),gyro_x (rad/s),gyro_y (rad/s),gyro_z (rad/s)"
    text = plain(TIMES, ACCS * G, GYROS, header).replace("\n", newline)
    assert_read(written(tmp_path / "walk.csv", text.encode(encoding)))


def test_nanoseconds_are_kept_to_the_last_digit(tmp_path: Path) -> None:
    text = "timestamp_ns,acc_x_g,acc_y_g,acc_z_g\n1718030736872695301,1,0,0\n1718030736892695303,1,0,0\n"
    times = read_recording(written(tmp_path / "walk.csv", text)).tracks[ACC].time_ns
    assert times.tolist() == [1718030736872695301, 1718030736892695303]


@pytest.mark.parametrize(
    ("header", "time_unit", "acc", "gyro"),
    [
        ("timestamp_ms,acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z", "ms", None, None),
        ("Timestamp_us,AccX,AccY,AccZ,GyrX,GyrY,GyrZ", "us", None, None),
        ("time (s),Acc x [g],Acc y [g],Acc z [g],Gyro x [deg/s],Gyro y [deg/s],Gyro z [deg/s]", "s", "g", "deg/s"),
        ("t_ns,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,gyro_x_dps,gyro_y_dps,gyro_z_dps", "ns", "m/s2", "deg/s"),
        ("time_s,acc_x_m_s2,acc_y_m_s2,acc_z_m_s2,gyro_x_rad_s,gyro_y_rad_s,gyro_z_rad_s", "s", "m/s2", "rad/s"),
        ("seconds_elapsed,totalacceleration_x,totalacceleration_y,totalacceleration_z,gyroscope_z,gyroscope_y,gyroscope_x",
         "s", "m/s2", "rad/s"),
    ],
)  # fmt: skip
def test_headers(header: str, time_unit: str, acc: str | None, gyro: str | None) -> None:
    layout = recognize_layout(header, "here")
    assert layout.time_unit == time_unit
    assert layout.sensors[ACC].unit == acc
    assert layout.sensors[GYRO].unit == gyro
    assert layout.sensors[ACC].columns == (1, 2, 3)
    assert layout.sensors[GYRO].columns == ((6, 5, 4) if header.endswith("_x") else (4, 5, 6))


def test_labels_are_read(tmp_path: Path) -> None:
    labels = ["walking"] * 100 + [""] * 50 + ["Sitting"] * 50
    recording = read_recording(written(tmp_path / "walk.csv", plain(TIMES, ACCS, GYROS, labels=labels)))
    assert [name for _, name in recording.labels] == [name or None for name in labels]
    assert [time_ns for time_ns, _ in recording.labels] == recording.tracks[ACC].time_ns.tolist()


def test_a_cut_last_line_is_noted(tmp_path: Path) -> None:
    text = plain(TIMES, ACCS, GYROS)
    recording = read_recording(written(tmp_path / "walk.csv", text[:-30]))
    assert len(recording.tracks[ACC].time_ns) == len(TIMES) - 1
    assert recording.notes == (f"{tmp_path / 'walk.csv'} ends in the middle of a line; that line was left out",)
    whole = read_recording(written(tmp_path / "walk.csv", text.rstrip("\n")))
    assert len(whole.tracks[ACC].time_ns) == len(TIMES)
    assert whole.notes == ()


@pytest.mark.parametrize("motion", [walking, resting])
def test_unit_of_acceleration_is_inferred_from_gravity(motion: type) -> None:
    acc, _ = motion(TIMES)
    for scale, unit in ((1.0, "g"), (G, "m/s2"), (1.04 * G, "m/s2")):
        assert infer_acceleration_unit(TIMES, acc * scale, None, "here") == unit
        assert infer_acceleration_unit(TIMES, acc * scale, unit, "here") == unit
    linear = acc - acc.mean(axis=0)
    for scale, stated in ((1.0, None), (1.0, "g"), (G, "m/s2")):
        with pytest.raises(InputError, match="gravity is missing"):
            infer_acceleration_unit(TIMES, linear * scale, stated, "here")
    with pytest.raises(InputError, match=r"is the acceleration in g or in m/s2\? .* --acc-unit g or --acc-unit m/s2"):
        infer_acceleration_unit(TIMES, acc * 3, None, "here")
    with pytest.raises(
        InputError, match=r"stated to be in g, but averages .* in m/s2 it would be right: --acc-unit m/s2"
    ):
        infer_acceleration_unit(TIMES, acc * G, "g", "here")
    with pytest.raises(InputError, match=r"the unit 'furlong' .* is unknown; choose one of g, m/s2"):
        infer_acceleration_unit(TIMES, acc, "furlong", "here")


def test_unit_of_gyroscope_is_inferred_where_certain() -> None:
    acc, gyro = walking(TIMES)
    still_acc, still_gyro = resting(TIMES)
    assert infer_gyroscope_unit(TIMES, gyro, None, (TIMES, acc), "here") == "rad/s"
    assert infer_gyroscope_unit(TIMES, np.rad2deg(gyro), None, (TIMES, acc), "here") == "deg/s"
    assert infer_gyroscope_unit(TIMES, np.rad2deg(gyro), None, None, "here") == "deg/s"
    spiked = gyro.copy()
    spiked[[30, 90, 150], 1] = 900.0
    assert infer_gyroscope_unit(TIMES, spiked, None, (TIMES, acc), "here") == "rad/s"
    with pytest.raises(InputError, match=r"in rad/s or in deg/s\? .* --gyro-unit rad/s or --gyro-unit deg/s"):
        infer_gyroscope_unit(TIMES, still_gyro, None, (TIMES, still_acc), "here")
    assert infer_gyroscope_unit(TIMES, still_gyro, "deg/s", (TIMES, still_acc), "here") == "deg/s"
    assert infer_gyroscope_unit(TIMES, np.rad2deg(still_gyro), None, (TIMES, still_acc), "here") == "deg/s"
    with pytest.raises(InputError, match="--gyro-unit deg/s"):
        infer_gyroscope_unit(TIMES, np.rad2deg(gyro), "rad/s", (TIMES, acc), "here")


def test_rate_ignores_gaps_and_repeated_times() -> None:
    times = np.concatenate([TIMES, TIMES + 100 * SECOND, TIMES[-1:] + 100 * SECOND])
    assert estimate_rate(times) == pytest.approx(50.0)
    assert estimate_rate(TIMES[:1]) == estimate_rate(TIMES[:0]) == 0.0
    check_rate(ACC, 48.0, 50.0, "here")
    with pytest.raises(InputError, match=r"accelerometer has 15\.0 samples per second; the model needs at least 20"):
        check_rate(ACC, 15.0, 50.0, "here")
    with pytest.raises(InputError, match=r"no two samples within 0\.2 s"):
        check_rate(ACC, 0.0, 50.0, "here")
