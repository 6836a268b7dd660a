"""Bad recordings and streams through the command line: a message and exit code 2, or a note."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harexport.cli import main
from harexport.data.recordings.sensors import Units
from harexport.errors import InputError
from harexport.predict.stream import predict_stream, read_lines
from tests.preprocessing.motion import SECOND, regular, resting, walking
from tests.preprocessing.phones import PLAIN, G, phyphox, plain, sensor_logger, written, zipped

TIMES = regular(9.0, 50)
ACC, GYRO = walking(TIMES)
WALK = plain(TIMES, ACC, GYRO)
LINEAR = ACC - ACC.mean(axis=0)
BARE = "timestamp_s,acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z"


EDGE = Path(__file__).resolve().parents[2] / "artifacts" / "edge" / "edge.safetensors"


def harexport(*arguments: str | Path, given: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["predict", "--model", str(EDGE), *map(str, arguments)], input=given)


def _assert_refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit), "a traceback"
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    for word in words:
        assert word in sentence, sentence
    assert result.stdout == ""


def _encrypted() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("Accelerometer.csv", WALK)
    content = bytearray(packed.getvalue())
    content[6] |= 1  # the flag of the member
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def _without(text: str, *columns: int) -> str:
    return "".join(
        ",".join(cell for k, cell in enumerate(line.split(",")) if k not in columns) + "\n"
        for line in text.splitlines()
    )


def _edited(line: int, change: Callable[[str], str]) -> str:
    lines = WALK.splitlines(keepends=True)
    lines[line - 1] = change(lines[line - 1])
    return "".join(lines)


_SLOW = regular(20.0, 15)
_PARTS = np.arange(450) % 100 <= 70
_FILES: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "empty": (b"", ("is empty",)),
    "only blanks": (b"\n \r\n\n", ("is empty",)),
    "binary": (bytes(range(256)) * 40, ("is a binary file, not CSV",)),
    "binary without zeros": (b"\x89PNG\r\n" + bytes(range(1, 256)) * 9, ("walk.csv",)),
    "a very long line": (b"x" * 3_000_000, ("a line of more than",)),
    "UTF-16 cut off": (WALK.encode("utf-16")[:-1], ("neither text nor CSV",)),
    "prose": ("Dear diary,\ntoday I walked.\n", ("no column of times", "the plain layout is")),
    "a header and no samples": (PLAIN + "\n", ("has a header and no samples",)),
    "no header": (WALK.partition("\n")[2], ("the first line has numbers and is not a header",)),
    "JSON": ('[{"sensor": "Accelerometer", "time": "1"}]', ("no column of times",)),
    "no times": (_without(WALK, 0), ("no column of times", "acc_x_g")),
    "times of another unit": (WALK.replace("timestamp_s", "timestamp_ns"), ("probably in s", "--time-unit s")),
    "no gyroscope": (_without(WALK, 4, 5, 6), ("no gyroscope in it, which the model needs",)),
    "no accelerometer": (_without(WALK, 1, 2, 3), ("no accelerometer in it",)),
    "an axis missing": (_without(WALK, 2), ("the accelerometer lacks the axis y",)),
    "an axis twice": (WALK.replace("acc_z_g", "acc_y_g"), ("two columns are the y axis",)),
    "two units in one sensor": (WALK.replace("acc_z_g", "acc_z_m/s2"), ("have different units",)),
    "an unknown unit": (WALK.replace("_x_g", "_x (ft)").replace("_y_g", "_y (ft)").replace("_z_g", "_z (ft)"),
                        ("the unit 'ft'", "is unknown; choose one of g, m/s2, mg")),
    "raw counts": (plain(TIMES, ACC * 16384, GYRO, BARE), ("raw counts?", "--acc-unit 16384/g")),
    "raw counts of the gyroscope": (
        plain(TIMES, ACC, np.rad2deg(GYRO) * 131, BARE), ("raw counts?", "--gyro-unit 131/dps")),
    "g that are m/s2": (plain(TIMES, ACC * G, GYRO), ("stated to be in g, but averages", "--acc-unit m/s2")),
    "m/s2 that are g": (plain(TIMES, ACC, GYRO, PLAIN.replace("_g,", "_m/s2,")), ("--acc-unit g",)),
    "a unit that cannot be result_dict": (plain(TIMES, ACC * 3, GYRO, BARE), ("in g or in m/s2?", "--acc-unit")),
    "linear acceleration": (plain(TIMES, LINEAR, GYRO), ("gravity is missing", "TotalAcceleration")),
    "linear acceleration, no unit": (plain(TIMES, LINEAR, GYRO, BARE), ("gravity is missing",)),
    "linear acceleration by its name": (
        plain(TIMES, LINEAR, GYRO, BARE.replace("acc_", "linear_acceleration_")),
        ("linear acceleration, without gravity",),
    ),
    "a gyroscope's unit that cannot be result_dict": (
        plain(TIMES, *resting(TIMES), BARE), ("rad/s or in deg/s?", "--gyro-unit")),
    "rad/s that are deg/s": (plain(TIMES, ACC, np.rad2deg(GYRO)), ("--gyro-unit deg/s",)),
    "15 Hz": (plain(_SLOW, *walking(_SLOW)), ("15.0 samples per second", "the model needs at least 20")),
    "one sample": (plain(TIMES[:1], ACC[:1], GYRO[:1]), ("no two samples within 0.2 s",)),
    "every time the same": (plain(TIMES * 0, ACC, GYRO), ("no two samples within 0.2 s",)),
    "a second and a half": (plain(TIMES[:75], ACC[:75], GYRO[:75]), ("hold no 2.56 s without a gap", "record longer")),
    "gaps everywhere": (
        plain(TIMES[_PARTS], ACC[_PARTS], GYRO[_PARTS]), ("hold no 2.56 s without a gap",)),
    "backwards": (plain(TIMES[::-1], ACC, GYRO), ("line 13", "time runs backwards")),
    "nothing but NaN": (plain(TIMES, ACC * np.nan, GYRO), ("no accelerometer in it (none of its values",)),
    "a word among the numbers": (_edited(99, lambda line: line.replace(",", ",oops,", 1).rpartition(",")[0] + "\n"),
                                 ("line 99", "'oops' is not a number", "repair or remove")),
    "a column too many": (_edited(7, lambda line: "1," + line), ("line 7", "it has 8 columns, the header 7")),
    "a line cut off in the middle of the file": (_edited(50, lambda line: line[:20] + "\n"), ("line 50",)),
    "a quote left open": (_edited(50, lambda line: '"' + line), ("walk.csv",)),
    "a year of two digits": (_edited(2, lambda line: "13/05/24 10:00:00" + line[line.index(","):]),
                             ("line 2", "'13/05/24 10:00:00' is not a time")),
    "a time that is NaN": (_edited(9, lambda line: "nan" + line[line.index(","):]), ("line 9", "is not a time")),
    "a time beyond all times": (_edited(9, lambda line: "1e300" + line[line.index(","):]), ("line 9", "not a time")),
    "nanoseconds beyond 64 bits": (
        plain(TIMES * SECOND, ACC, GYRO, PLAIN.replace("_s,", "_ns,")) + "9" * 23 + ",1,0,0,0,0,0\n", ("walk.csv",)),
    "only a BOM": (b"\xef\xbb\xbf", ("is empty",)),
    "only a BOM of UTF-16": (b"\xff\xfe", ("is empty",)),
    "a header of 60,000 letters": ("a" * 60_000 + "\n1\n", ("not a header",)),
    "a header of brackets": ("timestamp_s," + "(" * 15_000 + "\n1,2\n", ("no sensor",)),
    "two clocks": (
        BARE + "\n" + "".join(f"{k / 50},1,0,{k % 7},,,\n" for k in range(200))
        + "".join(f"{1e9 + k / 50},,,,0.1,0.2,{k % 5}\n" for k in range(200)), ("do not overlap in time",)),
    "a gyroscope of zeros": (plain(TIMES, ACC, GYRO * 0), ("no gyroscope", "are 0", "accelerometer alone")),
    "a zip cut off": (b"PK\x03\x04" + b"x" * 50, ("cannot be unpacked",)),
    "an encrypted zip": (_encrypted(), ("cannot be unpacked", "password")),
}  # fmt: skip


@pytest.mark.parametrize("case", _FILES)
def test_bad_files_are_refused(case: str, tmp_path: Path) -> None:
    content, words = _FILES[case]
    out = tmp_path / "out"
    path = written(tmp_path / "walk.csv", content)
    _assert_refused(harexport(path, "--out", out), str(path), *words)
    assert not out.exists()


def test_places_without_a_recording_are_refused(tmp_path: Path) -> None:
    _assert_refused(harexport(tmp_path / "nothing.csv"), "nothing.csv does not exist")
    _assert_refused(harexport(tmp_path), "is a folder without CSV files")
    _assert_refused(harexport(zipped(tmp_path / "z.zip", {"a.txt.png": "x"})), "is a zip without CSV files")
    others = {"Location.csv": "time,seconds_elapsed,latitude\n1,2,3\n", "Metadata.csv": "version\n3\n"}
    _assert_refused(harexport(zipped(tmp_path / "y.zip", others)), "Location.csv", "no sensor is recognized")
    locked = written(tmp_path / "locked.csv", WALK)
    locked.chmod(0)
    if os.geteuid():  # root may read everything
        _assert_refused(harexport(locked), "cannot read", "locked.csv")


def test_linear_acceleration_of_sensor_logger_is_recognized(tmp_path: Path) -> None:
    files = {"Accelerometer.csv": sensor_logger(TIMES, LINEAR * G), "Gyroscope.csv": sensor_logger(TIMES, GYRO)}
    _assert_refused(harexport(zipped(tmp_path / "walk.zip", files)), "linear acceleration", "TotalAcceleration")
    alone = written(tmp_path / "TotalAcceleration.csv", sensor_logger(TIMES, ACC * G))
    _assert_refused(harexport(alone), "no gyroscope in it", "folder or zip")


def test_linear_acceleration_of_phyphox_is_recognized(tmp_path: Path) -> None:
    files = {
        "Raw Data.csv": phyphox(TIMES, LINEAR * G, "Linear Acceleration {} (m/s^2)"),
        "Gyroscope.csv": phyphox(TIMES, GYRO, "Gyroscope {} (rad/s)"),
    }
    _assert_refused(harexport(zipped(tmp_path / "walk.zip", files)), "linear acceleration", "'Acceleration with g'")


def test_gravity_from_another_time_cannot_be_added(tmp_path: Path) -> None:
    files = {
        "Accelerometer.csv": sensor_logger(TIMES, LINEAR * G),
        "Gravity.csv": sensor_logger(TIMES, (ACC - LINEAR) * G, begun_s=1000),
        "Gyroscope.csv": sensor_logger(TIMES, GYRO),
    }
    _assert_refused(harexport(zipped(tmp_path / "walk.zip", files)), "were not recorded at the same time")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("give a PATH, or --follow",)),
        (("walk.csv", "--follow"), ("not both",)),
        (("--follow", "--picture", "x.png"), ("draws no picture",)),
        (("walk.csv", "--acc-unit", "lb"), ("choose one of g, m/s2, mg",)),
        (("walk.csv", "--acc-unit", "1_0/g"), ("the unit '1_0/g' of the accelerometer is unknown",)),
        (("walk.csv", "--gyro-unit", "nan/dps"), ("the unit 'nan/dps' of the gyroscope is unknown",)),
        (("walk.csv", "--smoothing", "heavy"), ("'exponential', 'none'",)),
        (("walk.csv", "--model", "missing.tflite"), ("model not found: missing.tflite",)),
        (("walk.csv", "--model", "model.h5"), ("ends in .h5", ".tflite")),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        written(tmp_path / "walk.csv", WALK)
        _assert_refused(harexport(*arguments), *words)


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    walk = written(tmp_path / "walk.csv", WALK)
    for name in ("model.tflite", "model.onnx", "model.safetensors"):
        _assert_refused(harexport(walk, "--model", written(tmp_path / name, b"nothing of the kind")), name)


def test_a_model_without_contract_is_refused(tmp_path: Path) -> None:
    import onnx

    edge = Path(__file__).resolve().parents[2] / "artifacts" / "edge" / "edge-float32.onnx"
    foreign = onnx.load(edge)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    walk = written(tmp_path / "walk.csv", WALK)
    _assert_refused(harexport(walk, "--model", tmp_path / "foreign.onnx"), "contains no contract", "harexport export")


_STREAMS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "nothing": (b"", ("standard input is empty",)),
    "blank lines": (b"\n\n\r\n", ("standard input is empty",)),
    "a header": (PLAIN.encode() + b"\n", ("ended after its header",)),
    "a header cut off": (PLAIN[:30].encode(), ("standard input",)),
    "binary": (bytes(range(256)) * 40, ("standard input",)),
    "UTF-16": (WALK.encode("utf-16"), ("standard input",)),
    "no gyroscope": (_without(WALK, 4, 5, 6).encode(), ("no gyroscope among its columns",)),
    "linear acceleration": (
        WALK.replace("acc_", "linear_acceleration_").encode(), ("linear acceleration only, which lacks gravity",)),
    "gravity missing": (plain(TIMES, LINEAR, GYRO).encode(), ("gravity is missing",)),
    "g that are m/s2": (plain(TIMES, ACC * G, GYRO).encode(), ("--acc-unit m/s2",)),
    "a gyroscope's unit unknown": (plain(TIMES, *resting(TIMES), BARE).encode(), ("--gyro-unit",)),
    "15 Hz": (plain(_SLOW, *walking(_SLOW)).encode(), ("15.0 samples per second",)),
    "a gyroscope without samples": (
        (BARE + "\n" + "".join(f"{k / 50},1,0,0,,,\n" for k in range(700))).encode(), ("no gyroscope in it",)),
    "another file after the header": ((PLAIN + "\n" + "what is this\n" * 30).encode(), ("line 21", "19 lines before")),
    "only NaN": (plain(TIMES, ACC * np.nan, GYRO).encode(), ("no sample of the accelerometer is a number",)),
}  # fmt: skip


@pytest.mark.parametrize("case", _STREAMS)
def test_bad_streams_are_refused(case: str) -> None:
    content, words = _STREAMS[case]
    _assert_refused(harexport("--follow", given=content), *words)


class _Endless(io.RawIOBase):
    """A stream that repeats a pattern after its start; the test fails if more than 30 MB are read."""

    def __init__(self, start: str, pattern: str) -> None:
        self._next, self._pattern, self._bytes_read = start.encode(), pattern.encode(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while len(self._next) < len(buffer):
            self._next += self._pattern * (1 + 8192 // len(self._pattern))
        buffer[:], self._next = self._next[: len(buffer)], self._next[len(buffer) :]
        self._bytes_read += len(buffer)
        assert self._bytes_read < 30_000_000
        return len(buffer)


@pytest.mark.parametrize(
    ("start", "pattern", "words"),
    [
        ("", "x", "the first line has more than 100,000 bytes"),
        ("", " ", "the first line has more than 100,000 bytes"),
        ("", "\n", "no header in the first 1,000 lines"),
        ("", "# comment\n", "no header in the first 1,000 lines"),
        (BARE + "\n0,", "1", "line 2: the line has more than 100,000 bytes"),
        (BARE + "\n", " ", "line 2: the line has more than 100,000 bytes"),
        (BARE + "\n", "0,1,1,1,0,0,0\n", "cover too short a time; check the column of times"),
    ],
)
def test_endless_streams_are_refused(start: str, pattern: str, words: str) -> None:
    lines = read_lines(io.BufferedReader(_Endless(start, pattern)))
    with pytest.raises(InputError, match=words):
        list(predict_stream(lines, None, Units(), "none"))


def _followed(content: str | bytes) -> tuple[list[dict[str, object]], list[str]]:
    result = harexport("--follow", given=content if isinstance(content, bytes) else content.encode())
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr.splitlines()


def test_a_stream_with_faults_continues() -> None:
    """Noise on the line, a gap, a clock that runs back, repeats, NaN, an end in the middle of a line."""
    lines = plain(regular(40.0, 50), *walking(regular(40.0, 50))).splitlines(keepends=True)
    header, samples = lines[0], lines[1:]
    spoiled = [
        header,
        *samples[:300],
        "\x00\x07garbage\n",
        header,  # the logger was started again
        *samples[300:400],
        samples[399],  # repeats
        samples[390],  # late
        samples[400].partition(",")[0] + ",nan,0,0,0,0,0\n",
        *samples[401:700],
        *samples[760:1100],  # a gap
        *samples[100:600],  # the clock runs back
        samples[600][:15],
    ]
    predictions, words = _followed("".join(spoiled))
    assert len(predictions) == (700 - 128) // 64 + 1 + (340 - 128) // 64 + 1 + (500 - 128) // 64 + 1
    assert words == [
        "line 302 was left out: it has 1 columns, the header 7",
        "line 303 was left out: 'timestamp_s' is not a time",
        "at 15.20 s the filters restart: no accelerometer for 1.22 s",
        "at 2.00 s the filters restart: the accelerometer timestamps jumped backwards",
        f"the stream ended in the middle of line {len(spoiled)}; that line was left out",
        "samples of the accelerometer dropped because they have the time of the sample before: 1",
        "samples of the accelerometer dropped because they are earlier than the sample before: 1",
        "samples of the accelerometer dropped because they are not numbers, or are too large: 1",
        "samples of the gyroscope dropped because they have the time of the sample before: 1",
        "samples of the gyroscope dropped because they are earlier than the sample before: 1",
    ]
    for prediction in predictions:
        assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-5)  # type: ignore[attr-defined]


def test_nan_in_a_file_are_dropped_with_a_note(tmp_path: Path) -> None:
    acc = ACC.copy()
    acc[[100, 101, 250], 1] = np.nan
    walk = written(tmp_path / "walk.csv", plain(TIMES, acc, GYRO))
    result = harexport(walk, "--json", "--no-picture")
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    assert content["notes"] == [
        "samples of the accelerometer dropped because they are not numbers, or are too large: 3"
    ]
    assert content["restarts"] == []
    assert len(content["windows"]) == (450 - 128) // 64 + 1


def test_padding_of_phyphox_is_no_sample(tmp_path: Path) -> None:
    """phyphox fills the shorter columns of a set with NaN, the times too."""
    header = "Time (s),Acceleration x (m/s^2),Acceleration y (m/s^2),Acceleration z (m/s^2)"
    header += ",Gyroscope x (rad/s),Gyroscope y (rad/s),Gyroscope z (rad/s)"
    text = plain(TIMES, ACC * G, GYRO, header) + f"{9.0},NaN,NaN,NaN,0.1,0.2,0.3\n"
    result = harexport(written(tmp_path / "Raw Data.csv", text), "--json", "--no-picture")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["family"] == "phyphox"


def test_rates_above_the_models_are_accepted(tmp_path: Path) -> None:
    for rate in (59.8, 100, 208, 416):
        times = regular(8.0, rate)
        result = harexport(written(tmp_path / "w.csv", plain(times, *walking(times))), "--json", "--no-picture")
        assert result.exit_code == 0, result.stderr
        assert len(json.loads(result.stdout)["windows"]) in (5, 6)
