"""Made-up motion as the loggers write it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.preprocessing.motion import SECOND, Floats, Times

G = 9.80665
PLAIN = "timestamp_s,acc_x_g,acc_y_g,acc_z_g,gyro_x_rad/s,gyro_y_rad/s,gyro_z_rad/s"
EPOCH = 1_718_030_736_872_695_300


def rows(columns: Iterable[object]) -> str:
    return ",".join(str(value) for value in columns) + "\n"


def plain(times: Times, acc: Floats, gyro: Floats, header: str = PLAIN, labels: Sequence[str] = ()) -> str:
    """The plain layout; with `labels`, one a sample."""
    ends = [[label] for label in labels] or [[] for _ in times]
    body = (rows([t / SECOND, *a, *g, *end]) for t, a, g, end in zip(times.tolist(), acc, gyro, ends, strict=True))
    return header + (",label" if len(labels) else "") + "\n" + "".join(body)


def sensor_logger(times: Times, values: Floats, begun_s: float = 0.07) -> str:
    """One sensor of Sensor Logger: nanoseconds since 1970, seconds since the start, and z, y, x in this order."""
    return "time,seconds_elapsed,z,y,x\n" + "".join(
        rows([EPOCH + t, begun_s + t / SECOND, *v[::-1]]) for t, v in zip(times.tolist(), values.tolist(), strict=True)
    )


def phyphox(
    times: Times, values: Floats, names: str = "Acceleration {} (m/s^2)", delimiter: str = ",", decimal: str = "."
) -> str:
    """One export set of phyphox, in its number format, with any of its delimiters."""

    def number(value: float) -> str:
        return f"{value:.9E}".replace("E+0", "E").replace("E-0", "E-").replace(".", decimal)

    header = delimiter.join(f'"{name}"' for name in ["Time (s)", *(names.format(axis) for axis in "xyz")])
    return (
        header
        + "\n"
        + "".join(
            delimiter.join(number(value) for value in (t / SECOND, *v)) + "\n"
            for t, v in zip(times.tolist(), values.tolist(), strict=True)
        )
    )


def zipped(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path
