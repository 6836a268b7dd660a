"""Files of recordings: headers, separators, missing values, and files that are no recordings."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from harexport.cli import main
from harexport.data.recordings.reader import read_recordings
from harexport.errors import InputError
from harexport.preprocessing.stream import ACC
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
    session,
)
from tests.preprocessing.motion import SECOND
from tests.preprocessing.phones import G, plain, rows, written, zipped


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
    text = change_lines(lambda lines: [*lines[:99], f"{TIMES[99] / SECOND},NA,null,n/a,None,nan,NULL\n", *lines[100:]])
    values = read(written(tmp_path / "walk.csv", text)).tracks[ACC].values
    assert np.flatnonzero(np.isnan(values).all(axis=1)).tolist() == [99]


@pytest.mark.parametrize("cell", ["1_0", "\u0661\u0662", "0x1p3", "1.5.2"])
@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("row", [99, 3000])  # rows after the first 2000 are parsed in blocks
def test_only_decimal_numbers_are_numbers(row: int, column: int, cell: str, tmp_path: Path) -> None:
    """Python's float() accepts 1_0 as 10, and the digits of all scripts."""
    cells = [str(row / 50 + 0.001), *"123456"]
    cells[column] = cell
    header, *lines = WALK.splitlines()
    lines = [f"{k / 50:.2f},{line.partition(',')[2]}" for k, line in enumerate(lines * 10)]
    path = written(tmp_path / "walk.csv", "\n".join([header, *lines[:row], ",".join(cells), *lines[row:], ""]))
    with pytest.raises(InputError, match=rf"line {row + 2}: {re.escape(repr(cell))} is not a (number|time)"):
        read_recordings(path)


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1, 1 << 21])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blocks_of_text_are_joined(size: int, end: str, tmp_path: Path) -> None:
    """A file is read in blocks of 1 MiB; a line, a character or a line end at their border is read once."""
    header, *lines = WALK.splitlines()
    several = [header + ",label"]
    several += [f"{k / 50:.2f},{lines[k % len(lines)].partition(',')[2]},STÉHEN" for k in range(16_000 * (size >> 20))]
    data = end.join([*several, ""]).encode()
    for shift in range(4):
        path = tmp_path / f"{shift}.csv"
        path.write_bytes(
            (b"#" * shift + end.encode() if shift else b"") + data[:size] + data[size:].partition(b"\n")[0]
        )
        recording = read(path)
        expected = data[:size].count(b"\n")
        assert abs(len(recording.label_codes) - expected) <= 1
        assert recording.label_names == ("STÉHEN",)


def test_a_character_that_is_no_utf8_at_a_border_of_blocks(tmp_path: Path) -> None:
    """The first byte of a character, at the end of a block, is not lost when the encoding turns out to be Latin-1."""
    path = tmp_path / "walk.csv"
    comment = b"#" * ((1 << 20) - 2) + "\u00e4".encode("latin-1")
    path.write_bytes(WALK.encode() + comment[len(WALK.encode()) :] + b" caf\n")
    assert len(read(path).tracks[ACC].time_ns) == len(TIMES)


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


@pytest.mark.parametrize("stem", ["a\nb\x1b[2J", "n" * 250, "歩" * 80, "..", "walk (1)"])
def test_any_name_of_a_recording_gives_a_picture(stem: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path, out = written(tmp_path / f"{stem}.csv", WALK), tmp_path / "out"
    result = CliRunner().invoke(main, ["predict", str(path), "--model", str(EDGE), "--out", str(out)])
    assert result.exit_code == 0, result.output
    (picture,) = out.iterdir()
    assert picture.name.endswith(".activities.png")
    assert picture.name.isprintable()
    assert not recwarn.list


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
