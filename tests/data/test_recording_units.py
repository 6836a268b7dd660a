"""Units of recordings: stated, inferred, ambiguous or contradicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from harexport.cli import main
from harexport.data.recordings.csv_format import Units
from harexport.preprocessing.stream import ACC, GYRO
from tests.data.walk import ACCS, BARE, EDGE, GYROS, TIMES, WALK, assert_walk, predict, predict_json, read
from tests.preprocessing.motion import SECOND, regular, resting
from tests.preprocessing.phones import G, plain, rows, written


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
