"""`harexport predict --follow`: what somebody does, told from a live stream of samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from harexport.data.recordings import reader
from harexport.data.recordings.csv_format import LINEAR, Layout, Row, recognize_layout, split_cells
from harexport.data.recordings.sensors import Units, resolve_sensors
from harexport.errors import InputError
from harexport.predict.mounting import MountOption, live_mount
from harexport.predict.session import Session, WindowPrediction
from harexport.preprocessing.resampler import SECOND, SENSOR_TIMEOUT_S, Restart
from harexport.preprocessing.stream import ACC, required_sensors
from harexport.runtimes.model import Model

_EXAMINED_SECONDS = 2.5  # of a live stream, before its rates and units are told; no window is whole earlier
_BAD_LINES = 20  # one after the other: then it is another file, and not a fault of the line


def predict_stream(
    lines: Iterable[bytes], model: Model, said: Units, smoothing: str, mount: MountOption | None = None
) -> Iterator[WindowPrediction | str]:
    """A live stream of CSV lines, the header first: yields answers as they are known, and words on what happened.

    Nothing is yielded before the first seconds have shown rates and units. Raises InputError for a stream without
    usable header, sensors or units, and after many unreadable lines one after the other.
    """
    numbered = enumerate(lines, 1)
    layout = _header(numbered)
    _check_sensors(layout, model)
    parsed = _parsed(numbered, layout)
    waiting: list[Row | str] = []
    lines_seen: list[Row] = []
    for item in parsed:
        waiting.append(item)
        if isinstance(item, Row):
            lines_seen.append(item)
            if _long_enough(lines_seen, required_sensors(model.contract)):
                break
    if not lines_seen:
        raise InputError("standard input: the stream ended after its header, before any sample")
    source = resolve_sensors(_tracks(lines_seen, layout), model.contract, said, "standard input")
    zero_ns = min(line.time_ns for line in lines_seen)
    session = Session(model, source, smoothing, zero_ns, live_mount(mount, model.contract, source, zero_ns))

    def told(events: list[WindowPrediction | Restart]) -> Iterator[WindowPrediction | str]:
        for event in events:
            if isinstance(event, WindowPrediction):
                yield event
            else:
                at = (event.time_ns - zero_ns) / SECOND
                yield f"at {at:.2f} s the chain starts anew: {event.reason}"

    def answered(item: Row | str) -> Iterator[WindowPrediction | str]:
        if isinstance(item, str):
            yield item
            return
        for sensor, values in item.values.items():
            yield from told(session.push(sensor, item.time_ns, values))
            yield from session.messages
            session.messages.clear()

    some = False
    for item in itertools.chain(waiting, parsed):
        for event in answered(item):
            some = some or isinstance(event, WindowPrediction)
            yield event
    for event in told(session.finish()):
        some = some or isinstance(event, WindowPrediction)
        yield event
    yield from session.left_out()
    if not some:
        needed = model.contract.window / model.contract.rate_hz
        raise InputError(f"standard input: the stream ended before {needed:.2f} s without a gap: no answer")


def _header(numbered: Iterator[tuple[int, bytes]]) -> Layout:
    for _, raw in numbered:
        if raw.strip(b"\xef\xbb\xbf \t\r\n"):
            return recognize_layout(reader.decode_text(raw, "standard input").strip("\r\n"), "standard input")
    raise InputError("standard input is empty; pipe a phone's samples as CSV into it, the header first")


def _check_sensors(layout: Layout, model: Model) -> None:
    for sensor in required_sensors(model.contract):
        if sensor not in layout.triples:
            also = f"; it has {LINEAR} only, which lacks gravity" if sensor == ACC and LINEAR in layout.triples else ""
            raise InputError(f"standard input: no {sensor} among its columns, which the model needs{also}")


def _parsed(numbered: Iterator[tuple[int, bytes]], layout: Layout) -> Iterator[Row | str]:
    """Lines as numbers, and words on those that are none. Raises InputError after too many of them in a row."""
    bad = 0
    for number, raw in numbered:
        if not raw.strip():
            continue
        if not raw.endswith(b"\n"):
            yield f"the stream ended in the middle of line {number}; that line was left out"
            return
        try:
            yield layout.line(split_cells(raw.decode("utf-8", errors="replace").rstrip("\r\n"), layout.delimiter))
            bad = 0
        except ValueError as error:
            bad += 1
            if bad == _BAD_LINES:
                raise InputError(
                    f"standard input, line {number}: {error}; so were the {bad - 1} lines before"
                ) from None
            yield f"line {number} was left out: {error}"


def _long_enough(lines: list[Row], needed: tuple[str, ...]) -> bool:
    """Whether every sensor has been seen for some seconds, or one of them has kept all waiting for too long."""
    newest = lines[-1].time_ns
    if newest - lines[0].time_ns > SENSOR_TIMEOUT_S * SECOND:
        return True
    if newest - lines[0].time_ns < _EXAMINED_SECONDS * SECOND:
        return False
    first = {sensor: next((line.time_ns for line in lines if sensor in line.values), newest) for sensor in needed}
    return all(newest - at >= _EXAMINED_SECONDS * SECOND for at in first.values())


def _tracks(lines: list[Row], layout: Layout) -> dict[str, reader.SensorTrack]:
    tracks = {}
    for sensor, triple in layout.triples.items():
        having = [line for line in lines if sensor in line.values]
        if having:
            times = np.array([line.time_ns for line in having], np.int64)
            values = np.array([line.values[sensor] for line in having])
            tracks[sensor] = reader.SensorTrack(times, values, triple.unit, "standard input")
    return tracks
