"""One recording of one's own: a labelled CSV, read as harexport.toml says -> sensors, labels, subject, windows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harexport.data.custom.config import CONFIG_NAME, SUBJECT, CustomConfig, compile_pattern
from harexport.data.recordings.csv_format import PLAIN, Layout, Row, classify_column, recognize_layout, split_cells
from harexport.data.recordings.reader import CsvTable, SensorTrack, add_gravity, decode_text
from harexport.data.recordings.sensors import Units, merge_by_time, resolve_sensors
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.preprocessing.resampler import MAX_PLAUSIBLE, SECOND, Restart
from harexport.preprocessing.stream import ACC, GYRO, SETTLING_SECONDS, Stream, Window

# What is left out besides windows without one clear label, in words.
SETTLED = f"that begin in the first {SETTLING_SECONDS:g} s after a start or a gap, while the filters settle"
_LARGEST = 200_000_000  # bytes: some fifteen hours at 50 Hz; a larger file would fill the memory


@dataclass(frozen=True)
class CustomRecording:
    """A labelled recording: `labels` of its lines at `label_times` (int64, in their order; None: unlabelled), `subject`
    is what a column says; `notes` is what people should know of how it was read."""

    name: str
    tracks: dict[str, SensorTrack]
    label_times: NDArray[np.int64]
    labels: list[str | None]
    subject: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class WindowedRecording:
    """The windows of a recording that carry one label: signals float32 [n, window, channels] and the labels' names.

    `settling` and `mixed` count windows left out: those that begin while the filters settle, and those with several
    labels or unlabelled samples. `gaps` are (seconds since the first sample, reason) where the chain started anew.
    """

    signals: NDArray[np.float32]
    labels: tuple[str, ...]
    settling: int
    mixed: int
    gaps: tuple[tuple[float, str], ...]
    left_out: dict[str, int]


def read_recording(file: Path, settings: CustomConfig, labelled: bool = True) -> CustomRecording:
    """Read a recording; `labelled`: it must carry labels.

    Raises InputError, with file and line, for everything in it that is not as it should be.
    """
    sheet = CsvTable(_text(file), str(file))
    layout, subject_column = _layout(sheet.header, settings, str(file))
    if labelled and layout.label is None:
        raise InputError(
            f"{file}: no column of labels among its columns ({_listed(layout.names)}). Call it label, or say which it "
            f"is by columns.label in {CONFIG_NAME}; a recording without labels teaches nothing: take it out of the folder"
        )
    times: list[int] = []
    labels: list[str | None] = []
    same: dict[str | None, str | None] = {}  # a label is kept once, not once a line
    subjects: dict[str, int] = {}
    unreadable: dict[str, list[int]] = {}

    def look(line: Row, number: int, cells: list[str]) -> None:
        if layout.label is not None:
            times.append(line.time_ns)
            labels.append(same.setdefault(line.label, line.label))
        for sensor, axes in line.values.items():
            if not all(abs(value) < MAX_PLAUSIBLE for value in axes):  # NaN compares as false
                unreadable.setdefault(sensor, []).append(number)
        if subject_column is not None and (subject := cells[subject_column].strip()):
            subjects.setdefault(subject, number)
            if len(subjects) > 1:
                before = next(iter(subjects))
                raise InputError(
                    f"{file}, line {number}: the subject is {subject}, and {before} before: a recording is of one "
                    "person. Cut the file there"
                )

    notes: list[str] = []
    tracks = add_gravity(sheet.tracks(layout, look, notes), str(file), notes)
    for sensor, lines in unreadable.items():
        notes.append(
            f"{file.name}: {len(lines)} samples of the {sensor} are not numbers (the first in line {lines[0]}): left "
            "out, as a phone leaves them out"
        )
    if labelled and not any(same):
        raise InputError(
            f"{file}: its column of labels is empty; a recording without labels teaches nothing: take it out of the "
            "folder"
        )
    order = np.argsort(np.array(times, np.int64), kind="stable")
    in_order_of_time = [labels[k] for k in order.tolist()]
    return CustomRecording(
        file.name, tracks, np.array(times, np.int64)[order], in_order_of_time, next(iter(subjects), None), tuple(notes)
    )


def make_windows(
    recording: CustomRecording, contract: Contract, units: Units, wanted: Sequence[str] = ()
) -> WindowedRecording:
    """The windows that a phone would make of the recording, by the very chain that it runs (signals/stream.py).

    A window is kept where it begins after the filters have settled and all its samples carry the same label, one of
    `wanted` if there are any. Raises InputError for sensors that are missing, slow, or in doubtful units.
    """
    source = resolve_sensors(recording.tracks, contract, units, recording.name)
    stream = Stream(contract, source.units, source.average_over)
    tracks = {sensor: recording.tracks[sensor] for sensor in source.rates}
    zero_ns = min(int(track.time_ns.min()) for track in tracks.values())
    events: list[Window | Restart] = []
    for sensor, time_ns, values in merge_by_time(tracks):
        events += stream.push(sensor, time_ns, values)
    events += stream.flush()
    told = _Labels(recording)
    kept: list[NDArray[np.float32]] = []
    labels: list[str] = []
    settling = mixed = 0
    for window in events:
        if isinstance(window, Restart):
            continue
        label = told.between(window.start_ns, window.end_ns)
        if not window.is_settled:
            settling += 1
        elif label is None or (wanted and label not in wanted):
            mixed += 1
        else:
            kept.append(window.array().astype(np.float32))
            labels.append(label)
    shape = (0, contract.window, len(contract.channels))
    dropped = {sensor: one.repeated + one.late for sensor, one in stream.dropped.items()}
    return WindowedRecording(
        np.stack(kept) if kept else np.zeros(shape, np.float32),
        tuple(labels),
        settling,
        mixed,
        tuple(((e.time_ns - zero_ns) / SECOND, e.reason) for e in events if isinstance(e, Restart)),
        {sensor: count for sensor, count in dropped.items() if count},
    )


def find_subject(recording: CustomRecording, settings: CustomConfig) -> str:
    """Whose recording it is: as [subjects] says, else subject_pattern, else its column. Raises InputError."""
    if (subject := settings.subjects.get(recording.name)) is not None:
        return subject
    if settings.subject_pattern is not None:
        found = compile_pattern(settings.subject_pattern, SUBJECT, "subject").fullmatch(recording.name)
        if found is None:
            raise InputError(
                f"{settings.file}: subject_pattern {settings.subject_pattern!r} does not fit {recording.name}; rename "
                f'the file, or add "{recording.name}" = "..." under [subjects]'
            )
        return found["subject"]
    if recording.subject is not None:
        return recording.subject
    raise InputError(
        f"{recording.name}: whose recording is it? A test is of other people than the training. Say it in "
        f'{settings.file}: subject_pattern = "{SUBJECT}_*.csv" where file names tell, or a line "{recording.name}" = '
        '"..." under [subjects]; or give the file a column subject'
    )


class _Labels:
    """Which label all samples between two times carry."""

    def __init__(self, recording: CustomRecording) -> None:
        self._times, self._names = recording.label_times, recording.labels
        changes = [False] + [a != b for a, b in zip(self._names, self._names[1:], strict=False)]
        self._run = np.cumsum(changes)

    def between(self, start_ns: int, end_ns: int) -> str | None:
        """None where there are several, or a sample without, or no sample at all."""
        first = int(np.searchsorted(self._times, start_ns, "left"))
        last = int(np.searchsorted(self._times, end_ns, "right")) - 1
        if last < first or self._run[first] != self._run[last]:
            return None
        return self._names[first]


def _text(file: Path) -> str:
    """The file as text. Raises InputError for what is too large, empty, binary, or neither UTF-8 nor UTF-16."""
    try:
        size = file.stat().st_size
        if size > _LARGEST:
            raise InputError(
                f"{file} has {size / 1e6:.0f} MB; at most {_LARGEST / 1e6:.0f} are read at once. Cut it into several "
                "recordings"
            )
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    text = decode_text(data, str(file))
    if not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:  # a label read by the wrong table of letters would be another label
            line = data.count(b"\n", 0, error.start) + 1
            raise InputError(f"{file}, line {line}: this is not UTF-8; save the file as UTF-8") from None
    return text


def _layout(header: str, settings: CustomConfig, where: str) -> tuple[Layout, int | None]:
    """The layout by the settings' columns and units, for the rest by the columns' names; and the subject's column."""
    delimiter = max(",;\t", key=header.count)
    try:
        cells = [cell.strip() for cell in split_cells(header, delimiter)]
    except ValueError as error:
        raise InputError(f"{where}: the first line is no header ({error}); {PLAIN}") from None
    columns, renamed = settings.columns, list(cells)

    def place(name: str, new: str) -> None:
        if cells.count(name) != 1:
            several = "several columns are called" if name in cells else "no column is called"
            raise InputError(
                f"{where}: {several} {name!r}, which {CONFIG_NAME} names under [columns]; there are {_listed(cells)}"
            )
        renamed[cells.index(name)] = new

    def hide(kind: str) -> None:
        for k, cell in enumerate(cells):
            if classify_column(cell)[0] == kind:
                renamed[k] = f"column {k + 1}"

    if columns.time is not None:
        hide("time")
        place(columns.time, _time_name(columns.time, settings, where))
    elif settings.time_unit is not None:
        for k, cell in enumerate(cells):
            if classify_column(cell)[0] == "time":
                renamed[k] = _time_name(cell, settings, where)
    for kind, prefix, names in ((ACC, "acc", columns.acc), (GYRO, "gyro", columns.gyro)):
        if names:
            hide(kind)
        for axis, name in zip("xyz", names, strict=False):
            unit = classify_column(name)[1]
            place(name, f"{prefix}_{axis}" + (f" ({unit})" if unit else ""))
    if columns.label is not None:
        hide("label")
        place(columns.label, "label")
    if columns.subject is not None:
        place(columns.subject, "subject")
    subject = next((k for k, name in enumerate(renamed) if name.lower() == "subject"), None)
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="").writerow(renamed)
    return recognize_layout(line.getvalue(), where), subject


def _time_name(name: str, settings: CustomConfig, where: str) -> str:
    """The column of times as the plain layout calls it. Raises InputError where its unit is not certain."""
    inside = classify_column(name)[1]
    if inside is not None and settings.time_unit not in (None, inside):
        raise InputError(
            f"{where}: by its name the column {name!r} is in {inside}, {CONFIG_NAME} says units.time = "
            f'"{settings.time_unit}"; which one is it?'
        )
    unit = settings.time_unit or inside
    if unit is None:
        raise InputError(f'{where}: in which unit is the column {name!r}? Say units.time = "s", "ms", "us" or "ns"')
    return f"timestamp_{unit}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12])[:200]
