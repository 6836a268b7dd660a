"""Predictions of a live stream of CSV lines, for `harexport predict --follow`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from harexport.data.recordings.column_names import APPLE_NAMES, LINEAR, kind_of_row
from harexport.data.recordings.csv_format import (
    Layout,
    Units,
    read_separator,
    recognize_layout,
    split_cells,
)
from harexport.data.recordings.sampling import find_fault, find_new_values, spread_batches
from harexport.data.recordings.sensors import resolve_sensors
from harexport.data.recordings.table import SensorTrack, to_number
from harexport.data.recordings.timestamps import TimeFormat, detect_format, parse_times
from harexport.errors import InputError
from harexport.predict.mounting import MountOption, live_mount
from harexport.predict.predict import NO_GYROSCOPE, describe_coverage
from harexport.predict.session import Session, WindowPrediction
from harexport.preprocessing.resampler import SECOND, SENSOR_TIMEOUT_S, Restart, Values
from harexport.preprocessing.stream import ACC, GYRO, required_sensors
from harexport.runtimes.model import Model, load_pretrained

_WHERE = "standard input"
_FORMAT_ROWS = 50  # lines that determine the format of times where the header has no unit
_RESOLVED_SECONDS = 2.5  # of a stream before rates and units are determined; no window is complete earlier
_BAD_LINES = 20  # consecutive ones: then it is another file, and not a fault of the line
_LONGEST_LINE = 100_000  # bytes
_MAX_HEADER_LINES = 1000  # comments and empty lines before the header
_MAX_WAITING_LINES = 100_000  # before rates and units are determined; a fast phone sends 2,000 in that time


@dataclass(frozen=True)
class Row:
    """A line of the stream: its time and the values of the sensors that have a sample in it."""

    time_ns: int
    values: dict[str, Values]


def read_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a stream with their ends; a longer line than the limit is cut."""
    while line := stream.readline(_LONGEST_LINE + 1):
        yield line


def predict_stream(
    lines: Iterable[bytes], model: Model | None, units: Units, smoothing: str, mount: MountOption | None = None
) -> Iterator[WindowPrediction | str]:
    """Predict a live stream of CSV lines, the header first.

    Nothing is yielded before the first seconds have shown rates and units.

    Args:
        lines: Lines with their ends.
        model: The model; None for a pretrained one that fits the sensors.
        units: Units stated by the user.
        smoothing: "exponential" or "none".
        mount: How the orientation of the phone is determined; None for the default of the model.

    Yields:
        Predictions, and messages about the stream.

    Raises:
        InputError: The header, a sensor or a unit is missing, or many consecutive lines cannot be parsed.
    """
    numbered = enumerate(lines, 1)
    layout = _read_header(numbered)
    if model is None:
        model = load_pretrained(GYRO in layout.sensors)
        if GYRO not in layout.sensors:
            yield NO_GYROSCOPE.format("")
    if layout.has_apple_signs and units.signs is None:
        units = replace(units, signs="apple")
        yield f"{APPLE_NAMES}: their signs are turned; to keep them, {units.option_hint('signs', 'android')}"
    _check_sensors(layout, model)
    parsed = _parse(numbered, layout, units)
    waiting: list[Row | str] = []
    rows: list[Row] = []
    for item in parsed:
        waiting.append(item)
        if len(waiting) > _MAX_WAITING_LINES:
            raise InputError(
                f"{_WHERE}: the first {_MAX_WAITING_LINES:,} lines cover too short a time; check the column of times"
            )
        if isinstance(item, Row):
            rows.append(item)
            if _is_long_enough(rows, required_sensors(model.contract)):
                break
    if not rows:
        raise InputError(f"{_WHERE}: the stream ended after its header, before any sample")
    tracks = _tracks(rows, layout)
    _check_sampling(tracks)
    for sensor, track in tracks.items():
        if fault := find_fault(track):
            yield f"the {sensor} has no signal so far: {fault}"
    info = resolve_sensors(tracks, model.contract, units, _WHERE)
    yield from info.notes
    zero_ns = min(row.time_ns for row in rows)
    session = Session(model, info, smoothing, zero_ns, live_mount(mount, model.contract, info, zero_ns))

    def describe(events: list[WindowPrediction | Restart]) -> Iterator[WindowPrediction | str]:
        for event in events:
            if isinstance(event, WindowPrediction):
                yield event
            else:
                at = (event.time_ns - zero_ns) / SECOND
                yield f"at {at:.2f} s the filters restart: {event.reason}"
        yield from session.messages
        session.messages.clear()

    has_prediction = False
    spans: dict[str, tuple[int, int]] = {}
    for item in itertools.chain(waiting, parsed):
        if isinstance(item, str):
            yield item
            continue
        for sensor, values in item.values.items():
            spans[sensor] = (spans.get(sensor, (item.time_ns,))[0], item.time_ns)
            for event in describe(session.push(sensor, item.time_ns, values)):
                has_prediction = has_prediction or isinstance(event, WindowPrediction)
                yield event
    for event in describe(session.finish()):
        has_prediction = has_prediction or isinstance(event, WindowPrediction)
        yield event
    yield from session.dropped_notes()
    yield from describe_coverage({sensor: spans[sensor] for sensor in info.rates})
    if not has_prediction:
        needed = model.contract.window / model.contract.rate_hz
        raise InputError(f"{_WHERE}: the stream ended before {needed:.2f} s without a gap, the length of a window")


def _read_header(numbered: Iterator[tuple[int, bytes]]) -> Layout:
    delimiter = ""
    for number, raw in numbered:
        if number > _MAX_HEADER_LINES:
            raise InputError(f"{_WHERE}: there is no header in the first {_MAX_HEADER_LINES:,} lines")
        if len(raw) > _LONGEST_LINE:
            raise InputError(f"{_WHERE}: the first line has more than {_LONGEST_LINE:,} bytes and is not a header")
        if not raw.strip(b"\xef\xbb\xbf \t\r\n") or raw.startswith((b"#", b"//")):
            continue
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw:
            raise InputError(f"{_WHERE} is binary or UTF-16; pipe CSV lines in UTF-8")
        text = raw.decode("utf-8-sig", "replace").strip("\r\n")
        if separator := read_separator(text):
            delimiter = separator
            continue
        return recognize_layout(text, _WHERE, delimiter=delimiter)
    raise InputError(f"{_WHERE} is empty; pipe a phone's samples as CSV into it, the header first")


def _check_sensors(layout: Layout, model: Model) -> None:
    for sensor in required_sensors(model.contract):
        if sensor not in layout.sensors:
            also = f"; it has {LINEAR} only, which lacks gravity" if sensor == ACC and LINEAR in layout.sensors else ""
            raise InputError(f"{_WHERE}: no {sensor} among its columns, which the model needs{also}")


def _parse(numbered: Iterator[tuple[int, bytes]], layout: Layout, units: Units) -> Iterator[Row | str]:
    """Yield rows, and messages about lines that are none. Raises InputError after too many of them in a row."""
    parser = _RowParser(layout, units)
    for number, raw in numbered:
        if len(raw) > _LONGEST_LINE:
            raise InputError(f"{_WHERE}, line {number}: the line has more than {_LONGEST_LINE:,} bytes")
        if not raw.strip():
            continue
        if not raw.endswith(b"\n"):
            yield from parser.flush()
            yield f"the stream ended in the middle of line {number}; that line was left out"
            return
        yield from parser.add(number, raw)
    yield from parser.flush()


class _RowParser:
    """Parses lines; the first ones wait until the format of their times is known."""

    def __init__(self, layout: Layout, units: Units) -> None:
        self._layout, self._units = layout, units
        self._format: TimeFormat | None = None
        self._pending: list[tuple[int, list[str]]] = []
        self._bad = 0
        is_known = (units.time or layout.time_unit) is not None and not layout.extra_time
        # A second column of times shows only after a second whether it counts on.
        self._format_rows = 1 if is_known else 10 * _FORMAT_ROWS if layout.extra_time else _FORMAT_ROWS

    def add(self, number: int, raw: bytes) -> Iterator[Row | str]:
        layout = self._layout
        try:
            cells = split_cells(raw.decode("utf-8", errors="replace").rstrip("\r\n"), layout.delimiter)
            if len(cells) > len(layout.names) and not any(cell.strip() for cell in cells[len(layout.names) :]):
                cells = cells[: len(layout.names)]
            if len(cells) != len(layout.names):
                raise ValueError(f"it has {len(cells)} columns, the header {len(layout.names)}")
        except ValueError as error:
            yield self._reject(number, str(error))
            return
        if self._format is None:
            self._pending.append((number, cells))
            if len(self._pending) >= self._format_rows:
                yield from self.flush()
            return
        yield self._convert(number, cells)

    def flush(self) -> Iterator[Row | str]:
        """Parse the lines that wait."""
        if self._format is None and self._pending:
            layout, units = self._layout, self._units
            texts = [cells[layout.time] for _, cells in self._pending if cells[layout.time].strip()]
            column, extra_unit = layout.extra_time or (0, None)
            extra = [cells[column] for _, cells in self._pending] if extra_unit else []
            self._format = detect_format(
                texts,
                layout.time_unit,
                units.time,
                _WHERE,
                lambda unit: units.option_hint("time", unit),
                extra_unit,
                extra,
            )
            for number, cells in self._pending:
                yield self._convert(number, cells)
            self._pending = []

    def _convert(self, number: int, cells: list[str]) -> Row | str:
        layout, form = self._layout, self._format
        assert form is not None
        try:
            extra = [cells[layout.extra_time[0]]] if layout.extra_time and form.extra_unit else []
            time_ns = int(parse_times([cells[layout.time]], form, extra)[0])
            values = {}
            for sensor, triple in layout.sensors.items():
                texts = [cells[column].strip() for column in triple.columns]
                if any(texts) and (layout.kind is None or kind_of_row(cells[layout.kind]) == sensor):
                    sign = -1.0 if sensor != GYRO and self._units.signs == "apple" else 1.0
                    values[sensor] = tuple(sign * to_number(text, layout.delimiter != ",") for text in texts)
        except ValueError as error:
            return self._reject(number, str(error))
        self._bad = 0
        return Row(time_ns, values)

    def _reject(self, number: int, reason: str) -> str:
        self._bad += 1
        if self._bad >= _BAD_LINES:
            raise InputError(f"{_WHERE}, line {number}: {reason}, as in the {_BAD_LINES - 1} lines before")
        return f"line {number} was left out: {reason}"


def _is_long_enough(rows: list[Row], sensors: tuple[str, ...]) -> bool:
    """Return whether all sensors have given samples for some seconds, or one is late for too long."""
    newest = rows[-1].time_ns
    if newest - rows[0].time_ns > SENSOR_TIMEOUT_S * SECOND:
        return True
    if newest - rows[0].time_ns < _RESOLVED_SECONDS * SECOND:
        return False
    first = {sensor: next((row.time_ns for row in rows if sensor in row.values), newest) for sensor in sensors}
    return all(newest - at >= _RESOLVED_SECONDS * SECOND for at in first.values())


def _check_sampling(tracks: dict[str, SensorTrack]) -> None:
    """Refuse what only a whole recording shows how to repair."""
    for sensor, track in tracks.items():
        problem = None
        if find_new_values(track) is not None:
            problem = f"the {sensor} repeats its last value between its samples"
        elif spread_batches(track.time_ns) is not None:
            problem = f"samples of the {sensor} share timestamps in batches"
        if problem:
            raise InputError(f"{_WHERE}: {problem}; pass the recording as a file, where this is repaired")


def _tracks(rows: list[Row], layout: Layout) -> dict[str, SensorTrack]:
    tracks = {}
    for sensor, triple in layout.sensors.items():
        present = [row for row in rows if sensor in row.values]
        if present:
            times = np.array([row.time_ns for row in present], np.int64)
            values = np.array([row.values[sensor] for row in present])
            tracks[sensor] = SensorTrack(times, values, triple.unit, _WHERE)
    return tracks
