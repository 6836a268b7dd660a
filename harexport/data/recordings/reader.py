"""Recordings of phones as files: a CSV, or a folder or zip of CSVs -> the samples of each sensor at its own times."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from harexport.data.recordings.csv_format import GRAVITY, LINEAR, PLAIN, Layout, Row, recognize_layout, sensor_priority
from harexport.errors import InputError
from harexport.preprocessing.resampler import GAP_SECONDS, SECOND
from harexport.preprocessing.stream import ACC, GYRO

_LIMIT = 2_000_000_000  # bytes that a zip may unpack to: a day of two sensors at 400 Hz has less
_FAMILY_ORDER = ("Sensor Logger", "phyphox", "plain layout")


@dataclass(frozen=True)
class SensorTrack:
    """One sensor: time_ns int64 [n], values float64 [n, 3] in `unit` (None: the file does not say); NaN is possible.

    `source` names the file in messages.
    """

    time_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    unit: str | None
    source: str


@dataclass(frozen=True)
class PhoneRecording:
    """What a phone recorded: `tracks` by sensor (ACC, GYRO), and `labels` as (time_ns, name) in the order of time.

    `family` is the kind of file, for people; `notes` is what people should know of how it was read.
    """

    family: str
    tracks: dict[str, SensorTrack]
    labels: tuple[tuple[int, str | None], ...]
    notes: tuple[str, ...]


@dataclass
class _Table:
    stem: str
    layout: Layout
    tracks: dict[str, SensorTrack]
    labels: list[tuple[int, str | None]]


def read_recording(path: Path) -> PhoneRecording:
    """The recording at `path`: a CSV, or a folder or zip of CSVs, of which those without a sensor are passed over.

    Raises InputError for what is missing, empty, binary, or has no sensor, no time, or time that runs backwards.
    """
    notes: list[str] = []
    tables: list[_Table] = []
    refused: list[InputError] = []
    several = path.is_dir() or _is_zip(path)
    flip = False
    for name, data in _files(path):
        stem = PurePosixPath(name).stem
        where = f"{path}: {name}" if several else str(path)
        try:
            text = decode_text(data, where)
            if stem.lower() == "metadata":
                flip = flip or _apple_signs(text)
            else:
                tables.append(_table(text, stem, where, notes))
        except InputError as error:
            if not several:
                raise
            refused.append(error)
    tables = [table for table in tables if table.tracks]
    if not tables:
        if refused:
            raise refused[0]
        raise InputError(f"{path}: no CSV file with a sensor in it; {PLAIN}")
    tracks = _tracks(tables)
    if not tracks and refused:
        raise refused[0]
    if flip:
        notes.append("an iPhone's accelerations point the other way than Android's: their signs were turned")
        tracks = {
            kind: track if kind == GYRO else SensorTrack(track.time_ns, -track.values, track.unit, track.source)
            for kind, track in tracks.items()
        }
    labels = next((table.labels for table in tables if any(name for _, name in table.labels)), [])
    family = min((table.layout.family for table in tables), key=_FAMILY_ORDER.index)
    return PhoneRecording(family, add_gravity(tracks, str(path), notes), tuple(labels), tuple(notes))


def decode_text(data: bytes, where: str) -> str:
    """A CSV's bytes as text: UTF-8, or UTF-16 if it begins so, else Latin-1. Raises InputError for binary and empty."""
    if not data.strip():
        raise InputError(f"{where} is empty")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise InputError(f"{where} is neither text nor CSV ({error.reason}); give a phone's recording") from None
    if b"\0" in data:
        raise InputError(
            f"{where} is a binary file, not CSV; give a phone's recording as CSV, or a folder or zip of it"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")  # "m/s²" of an old spreadsheet


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents: the file itself, or the CSVs of a folder or zip, in the order of their names."""
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in (".csv", ".txt", ".tsv"))
        if not found:
            raise InputError(f"{path} is a folder without CSV files; give a recording, or the folder or zip it is in")
        for file in found:
            yield file.name, file.read_bytes()
    elif _is_zip(path):
        yield from _zipped(path)
    else:
        yield path.name, path.read_bytes()


def _zipped(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [
                info
                for info in archive.infolist()
                # phyphox tells of the phone in meta/; macOS adds a shadow of every file
                if info.filename.lower().endswith((".csv", ".txt", ".tsv"))
                and not info.filename.startswith(("meta/", "__MACOSX/"))
            ]
            if not infos:
                raise InputError(f"{path} is a zip without CSV files; export the recording as CSV")
            if sum(info.file_size for info in infos) > _LIMIT:
                raise InputError(f"{path} is refused: it unpacks to more than {_LIMIT:,} bytes")
            for info in sorted(infos, key=lambda info: info.filename):
                yield info.filename, archive.read(info)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise InputError(f"{path} cannot be unpacked ({error}); export the recording again") from error


def _table(text: str, stem: str, where: str, notes: list[str]) -> _Table:
    sheet = CsvTable(text, where)
    layout = recognize_layout(sheet.header, where, stem)
    labels: list[tuple[int, str | None]] = []

    def look(line: Row, number: int, cells: list[str]) -> None:
        if layout.label is not None:
            labels.append((line.time_ns, line.label))

    return _Table(stem, layout, sheet.tracks(layout, look, notes), labels)


class CsvTable:
    """The text of one CSV, whose `header` is its first line that is not empty; `where` names it in messages."""

    def __init__(self, text: str, where: str) -> None:
        self._whole_line = text.endswith(("\n", "\r"))
        self._lines = io.StringIO(text, newline=None).read().split("\n")
        self._first = next(k for k, line in enumerate(self._lines) if line.strip())
        self._where = where

    @property
    def header(self) -> str:
        return self._lines[self._first]

    def tracks(
        self, layout: Layout, look: Callable[[Row, int, list[str]], None], notes: list[str]
    ) -> dict[str, SensorTrack]:
        """The sensors, by kind. `look` is shown each line of data as it is read: as numbers, its number in the file
        (from 1), and its cells; what people should know is added to `notes`.

        Raises InputError for what cannot be read, time that runs backwards, and where there are no samples.
        """
        times: dict[str, list[int]] = {kind: [] for kind in layout.triples}
        latest: dict[str, int] = {}
        values: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in layout.triples}
        where, last = self._where, len(self._lines) - 1
        body = csv.reader(self._lines[self._first + 1 :], delimiter=layout.delimiter, strict=True)
        try:
            for k, cells in enumerate(body, self._first + 1):
                if not any(cell.strip() for cell in cells):
                    continue
                try:
                    line = layout.line(cells)
                except ValueError as error:
                    if k == last and not self._whole_line:
                        notes.append(f"{where} ends in the middle of a line; that line was left out")
                        break
                    raise InputError(f"{where}, line {k + 1}: {error}; repair or remove the line") from None
                for kind, axes in line.values.items():
                    _check_order(line, latest.setdefault(kind, line.time_ns), f"{where}, line {k + 1}")
                    latest[kind] = max(latest[kind], line.time_ns)
                    times[kind].append(line.time_ns)
                    values[kind].append(axes)
                look(line, k + 1, cells)
        except csv.Error as error:
            raise InputError(f"{where} is not CSV ({error})") from None
        tracks = {
            kind: SensorTrack(np.array(times[kind], np.int64), np.array(values[kind]), triple.unit, where)
            for kind, triple in layout.triples.items()
            if times[kind]
        }
        if not tracks:
            raise InputError(f"{where} has a header and no samples")
        return tracks


def _check_order(line: Row, latest_ns: int, where: str) -> None:
    if line.time_ns < latest_ns - GAP_SECONDS * SECOND:
        raise InputError(
            f"{where}: time runs backwards by {(latest_ns - line.time_ns) / SECOND:.2f} s. Are these two recordings in "
            "one file? Cut it there"
        )


def _tracks(tables: list[_Table]) -> dict[str, SensorTrack]:
    """The best source of each kind."""
    best: dict[str, tuple[int, SensorTrack]] = {}
    for table in tables:
        for kind, track in table.tracks.items():
            rank = sensor_priority(table.layout, kind, table.stem)
            if kind not in best or rank < best[kind][0]:
                best[kind] = (rank, track)
    return {kind: track for kind, (_, track) in best.items()}


def add_gravity(tracks: dict[str, SensorTrack], where: str, notes: list[str]) -> dict[str, SensorTrack]:
    """The sensors, the acceleration put together from its two parts where the phone recorded only these."""
    linear, gravity = tracks.get(LINEAR), tracks.get(GRAVITY)
    sensors = {kind: track for kind, track in tracks.items() if kind in (ACC, GYRO)}
    if ACC in sensors or linear is None:
        return sensors
    if gravity is None:
        raise InputError(
            f"{linear.source} is linear acceleration, from which gravity was taken away; the model "
            "needs the total. Record TotalAcceleration (Sensor Logger; on an iPhone Gravity too), or in phyphox "
            "'Acceleration with g'"
        )
    if linear.unit != gravity.unit:
        raise InputError(f"{where}: linear acceleration is in {linear.unit}, gravity in {gravity.unit}; give one unit")
    notes.append("the acceleration is the sum of linear acceleration and gravity, which were recorded apart")
    inside = (linear.time_ns >= gravity.time_ns.min()) & (linear.time_ns <= gravity.time_ns.max())
    times = linear.time_ns[inside]
    start = gravity.time_ns[0]
    order = np.argsort(gravity.time_ns, kind="stable")
    parts = [  # gravity turns slowly: between its samples a straight line is as good as a sample
        np.interp((times - start).astype(float), (gravity.time_ns[order] - start).astype(float), axis[order])
        for axis in gravity.values.T
    ]
    if not len(times):
        raise InputError(f"{where}: linear acceleration and gravity were not recorded at the same time")
    return {
        **sensors,
        ACC: SensorTrack(times, linear.values[inside] + np.stack(parts, axis=1), linear.unit, linear.source),
    }


def _apple_signs(text: str) -> bool:
    """Whether Sensor Logger's Metadata.csv tells of an iPhone whose signs were not standardised."""
    rows = list(csv.DictReader(io.StringIO(text)))
    row = {key.strip().lower(): str(value).strip().lower() for key, value in (rows or [{}])[0].items() if key}
    return row.get("platform") == "ios" and row.get("standardisation") != "true"
