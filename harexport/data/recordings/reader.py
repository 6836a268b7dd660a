"""Reader of recordings: a CSV, or a folder or zip of CSVs -> recordings of one device and one session each."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harexport.data.recordings.column_names import (
    APPLE_NAMES,
    GRAVITY,
    LINEAR,
    device_of_stem,
    stem_without_sensor,
)
from harexport.data.recordings.csv_format import (
    PLAIN,
    ColumnNames,
    Units,
    UnrecognizedError,
)
from harexport.data.recordings.files import ZIP_ERRORS, OpenedFiles, RecordingFile, is_zip
from harexport.data.recordings.sampling import find_constant_axes, find_fault, repair_sampling
from harexport.data.recordings.sessions import TablePart, group_parts, split_sessions
from harexport.data.recordings.table import SensorTrack, Table, read_table
from harexport.errors import InputError
from harexport.preprocessing.stream import ACC, GYRO

_FAMILY_ORDER = ("Sensor Logger", "phyphox", "plain layout")
_LINEAR_SHARE = 0.5  # of gravity: the mean of an acceleration without gravity is far below


@dataclass(frozen=True)
class ReadOptions:
    """What the user states about recordings: names of columns, and units."""

    columns: ColumnNames = field(default_factory=ColumnNames)
    units: Units = field(default_factory=Units)
    is_strict: bool = False  # for training: refuse files that cannot be read and text that is not UTF-8


@dataclass(frozen=True)
class PhoneRecording:
    """A recording of one device and one session.

    Attributes:
        name: Name of the file, or of the folder of its files, with the number of the session if there are several.
        family: Kind of file: "Sensor Logger", "phyphox" or "plain layout".
        device: "phone", "watch" or "headphones".
        tracks: Samples by sensor (ACC, GYRO).
        label_times: Times of the labels, increasing, int64 [n].
        label_codes: Index into `label_names` of each time, int32 [n].
        label_names: Labels; None: not labeled.
        subject: Subject in a column of the file.
        notes: What was inferred or left out.
        missing: Why a sensor is missing, by sensor.
        path: Path of its file, or of the folder of its files, in the folder or zip that was read.
        where: Name for messages, with the whole path.
        line_numbers: Line of each sample, by sensor, where samples were not changed.
    """

    name: str
    family: str
    device: str
    tracks: dict[str, SensorTrack]
    label_times: NDArray[np.int64]
    label_codes: NDArray[np.int32]
    label_names: tuple[str | None, ...]
    subject: str | None = None
    notes: tuple[str, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    path: str = ""
    where: str = ""
    line_numbers: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def has_labels(self) -> bool:
        """Whether a sample has a label."""
        return any(name is not None for name in self.label_names)

    @property
    def labels(self) -> tuple[tuple[int, str | None], ...]:
        """Times and labels as pairs."""
        names = (self.label_names[code] for code in self.label_codes.tolist())
        return tuple(zip(self.label_times.tolist(), names, strict=True))

    def label_between(self, start_ns: int, end_ns: int) -> str | None:
        """Return the label that all samples from `start_ns` to `end_ns` have; None where they differ or lack one."""
        first = int(np.searchsorted(self.label_times, start_ns, "left"))
        last = int(np.searchsorted(self.label_times, end_ns, "right"))
        codes = np.unique(self.label_codes[first:last])
        return self.label_names[int(codes[0])] if len(codes) == 1 else None


def read_recordings(path: Path, options: ReadOptions | None = None) -> list[PhoneRecording]:
    """Read all recordings at a path.

    A recording is one device and one session: files are grouped by folder, device, name and time before any sensor is
    chosen, and a file is split where its clock jumps back or its subject changes.

    Args:
        path: CSV, or folder or zip of CSVs, with subfolders.
        options: What the user states about columns and units.

    Raises:
        InputError: There is no recording, or a file cannot be read.
    """
    recordings = list(iterate_recordings(path, options or ReadOptions()))
    if not recordings:
        raise InputError(f"{path}: no CSV file with a sensor in it; {PLAIN}")
    return recordings


def read_recording(path: Path, options: ReadOptions | None = None) -> PhoneRecording:
    """Read the only recording at a path.

    Raises:
        InputError: There are several recordings or none, or a file cannot be read.
    """
    recordings = read_recordings(path, options)
    if len(recordings) > 1:
        listed = ", ".join(recording.name for recording in recordings[:8])
        raise InputError(f"{path} holds {len(recordings)} recordings ({listed}); pass one of them")
    return recordings[0]


def iterate_recordings(path: Path, options: ReadOptions) -> Iterator[PhoneRecording]:
    """Yield the recordings at a path, folder by folder. See `read_recordings`."""
    is_single = not path.is_dir() and not is_zip(path)
    refused: list[tuple[str, InputError]] = []
    has_recording = False
    with OpenedFiles(path) as files:
        for folder, members in groupby(files, key=lambda file: file.folder):
            before = len(refused)
            recordings = _read_folder(path, folder, list(members), options, refused)
            if recordings and refused[before:]:
                recordings[0] = replace(
                    recordings[0], notes=(*recordings[0].notes, *_describe_refused(refused[before:]))
                )
            has_recording = has_recording or bool(recordings)
            yield from recordings
    if not has_recording and refused and not is_single:
        raise refused[0][1]


def _describe_refused(refused: list[tuple[str, InputError]]) -> list[str]:
    others = [name for name, error in refused if isinstance(error, UnrecognizedError)]
    notes = [str(error) for _, error in refused if not isinstance(error, UnrecognizedError)]
    if others:
        listed = ", ".join(others[:8]) + (f" and {len(others) - 8} more" if others[8:] else "")
        notes.append(f"files without a sensor that is used: {listed}")
    return notes


def _read_folder(
    path: Path,
    folder: str,
    files: list[RecordingFile],
    options: ReadOptions,
    refused: list[tuple[str, InputError]],
) -> list[PhoneRecording]:
    parts: list[TablePart] = []
    annotations: list[Table] = []
    platform = None
    is_single = len(files) == 1 and files[0].name == path.name
    for file in files:
        try:
            if file.stem.lower() == "metadata":
                platform = _read_platform(file) or platform
                continue
            table = _read(file, options)
            if table.layout.text is not None:
                annotations.append(table)
            elif table.sensors:
                parts += split_sessions(file, table)
            elif table.layout.kind is not None:
                column = table.layout.names[table.layout.kind]
                raise InputError(f"{file.where}: no row is of an accelerometer or gyroscope, by the column {column!r}")
            else:
                raise InputError(f"{file.where} has a header and no samples")
        except InputError as error:
            if is_single or (options.is_strict and not (isinstance(error, UnrecognizedError) and error.is_logger)):
                raise
            refused.append((file.name, error))
    devices: dict[str, list[TablePart]] = {}
    for part in parts:
        devices.setdefault(device_of_stem(part.file.stem), []).append(part)
    usable = {device: group for device, group in devices.items() if any({ACC, LINEAR} & part.kinds for part in group)}
    order: list[str] = [device for device in ("phone", "watch", "headphones") if device in usable]
    chosen = next(iter([*order, *devices]), "phone")
    others = {part.file.name: device for device, group in devices.items() if device != chosen for part in group}
    recordings = []
    groups = group_parts(devices.get(chosen, []))
    base = path.name if not folder else f"{path.name}/{folder}"
    for group in groups:
        name = _name(path, base, folder, group, len(groups) > 1, is_single)
        inner = group[0].file.name if len(group) == 1 else name.removeprefix(f"{path.name}/") if folder else path.name
        recordings.append(
            _assemble(name, inner, _where(path, name), chosen, group, annotations, platform, others, devices, options)
        )
    return recordings


def _name(path: Path, base: str, folder: str, group: list[TablePart], is_one_of_many: bool, is_single: bool) -> str:
    part = group[0]
    if is_single:
        name = path.name
    elif len(group) == 1 and is_one_of_many:
        name = f"{path.name}/{part.file.name}"
    elif is_one_of_many:
        name = f"{base}/{stem_without_sensor(part.file.stem) or part.file.stem}"
    else:
        name = base
    whole = part.first == 0 and part.end == len(part.table.time_ns)
    return name if whole else f"{name} (from line {part.table.line_numbers[part.first]})"


def _where(path: Path, name: str) -> str:
    """Return the name of a recording for messages: the path, and the rest of the name."""
    rest = name.removeprefix(path.name).strip("/ ")
    return f"{path}: {rest}" if rest else str(path)


def _read(file: RecordingFile, options: ReadOptions) -> Table:
    try:
        with file.open() as stream:
            return read_table(
                stream,
                file.where,
                file.stem,
                options.columns,
                options.units.time,
                options.units.option_hint,
                options.is_strict,
            )
    except ZIP_ERRORS as error:
        if isinstance(error, OSError) and not isinstance(error, zipfile.BadZipFile) and error.strerror:
            raise InputError(f"cannot read {file.where}: {error.strerror}") from error
        raise InputError(f"{file.where} cannot be unpacked ({error}); export the recording again") from error


def _read_platform(file: RecordingFile) -> str | None:
    """Return "apple" or "android" from Sensor Logger's Metadata.csv: whose signs the accelerations have."""
    try:
        with file.open() as stream:
            text = stream.read(100_000).decode("utf-8-sig", "replace")
    except ZIP_ERRORS:
        return None
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        return None
    try:
        row = next(csv.DictReader(io.StringIO(f"{lines[0]}\n{lines[1]}\n")), {})
    except csv.Error:
        return None
    values = {str(key).strip().lower(): str(value).strip().lower() for key, value in row.items() if key}
    is_apple = values.get("platform") == "ios" and values.get("standardisation") != "true"
    return "apple" if is_apple else "android" if "platform" in values else None


def _assemble(
    name: str,
    path: str,
    where: str,
    device: str,
    group: list[TablePart],
    annotations: list[Table],
    platform: str | None,
    others: dict[str, str],
    devices: dict[str, list[TablePart]],
    options: ReadOptions,
) -> PhoneRecording:
    notes: list[str] = [note for part in group if part.first == 0 for note in part.table.notes]
    notes += [
        f"split off at line {part.table.line_numbers[part.first]} of {part.file.name}, where another recording begins"
        for part in group
        if part.first > 0
    ]
    best: dict[str, tuple[int, TablePart]] = {}
    for part in group:
        for kind in part.kinds:
            rank = part.table.layout.sensors[kind].rank
            if kind not in best or rank < best[kind][0]:
                best[kind] = (rank, part)
    tracks = {kind: part.track(kind) for kind, (_, part) in best.items()}
    units = options.units
    for part in group:
        form = part.table.time_format
        if form.origin.startswith("inferred"):
            note = f"times are in {form.unit}, {form.origin}; to change it, {units.option_hint('time', 'UNIT')}"
            notes += [note] if note not in notes else []
    family = min((part.table.layout.family for part in group), key=_FAMILY_ORDER.index)
    has_apple_signs = any(part.table.layout.has_apple_signs for part in group)
    tracks = _turn_signs(tracks, family, platform, has_apple_signs, units, notes)
    tracks = add_gravity(tracks, name, notes)
    missing: dict[str, str] = {}
    lines: dict[str, NDArray[np.int64]] = {}
    for kind in list(tracks):
        reason = find_fault(tracks[kind])
        if reason is not None:
            missing[kind] = reason
            notes.append(f"the {kind} has no signal: {missing[kind]}; it is treated as missing")
            del tracks[kind]
            continue
        notes += [
            f"the {axis} axis of the {kind} is always {value:g}; check the sensor and the names of the columns"
            for axis, value in find_constant_axes(tracks[kind])
        ]
        tracks[kind], repaired = repair_sampling(kind, tracks[kind])
        notes += repaired
        if kind in best and not repaired and len(tracks[kind].time_ns) == len(best[kind][1].lines(kind)):
            lines[kind] = best[kind][1].lines(kind)
    for file, other in others.items():
        notes.append(f"{file} is of another device ({other}) and was left out; pass it alone to use it")
        for part in devices[other]:
            for kind in part.kinds & {ACC, GYRO}:
                missing.setdefault(kind, f"{file} has one, but of another device ({other})")
    if device != "phone":
        notes.append(f"recorded by a device of another kind ({device}); the model was trained on phones")
    times, codes, names = _labels(group, annotations, tracks)
    subjects = {
        part.table.subject_names[code]
        for part in group
        if len(part.table.subjects)
        for code in np.unique(part.table.subjects[part.first : part.end]).tolist()
    } - {None}
    subject = next(iter(subjects)) if len(subjects) == 1 else None
    return PhoneRecording(
        name, family, device, tracks, times, codes, names, subject, tuple(notes), missing, path, where, lines
    )


def _turn_signs(
    tracks: dict[str, SensorTrack],
    family: str,
    platform: str | None,
    has_apple_signs: bool,
    units: Units,
    notes: list[str],
) -> dict[str, SensorTrack]:
    """Turn the signs of Apple's accelerations: at rest they point down, Android's up."""
    reason = ""
    signs = units.signs
    if signs is None and family == "Sensor Logger":
        if platform is not None:
            signs, reason = platform, "Metadata.csv names an iPhone"
        elif ACC not in tracks and LINEAR in tracks and GRAVITY in tracks:
            signs, reason = "apple", "Accelerometer and Gravity without TotalAcceleration are from an iPhone"
    elif signs is None and has_apple_signs:
        signs, reason = "apple", APPLE_NAMES
    if signs != "apple":
        return tracks
    if reason:
        override = units.option_hint("signs", "android")
        notes.append(f"{reason}: the signs of the acceleration were turned; to keep them, {override}")
    return {kind: track if kind == GYRO else replace(track, values=-track.values) for kind, track in tracks.items()}


def add_gravity(tracks: dict[str, SensorTrack], where: str, notes: list[str]) -> dict[str, SensorTrack]:
    """Return ACC and GYRO; the acceleration is the sum of its two parts where only these were recorded.

    Raises:
        InputError: Gravity is missing, has another unit, or was recorded at another time.
    """
    linear, gravity = tracks.get(LINEAR), tracks.get(GRAVITY)
    sensors = {kind: track for kind, track in tracks.items() if kind in (ACC, GYRO)}
    if ACC in sensors and gravity is not None and _length(sensors[ACC]) < _LINEAR_SHARE * _length(gravity):
        linear = sensors.pop(ACC)  # called acceleration, but without gravity
    if ACC in sensors or linear is None:
        return sensors
    if gravity is None:
        raise InputError(
            f"{linear.source} holds linear acceleration, without gravity; the model needs the total acceleration. "
            "Record TotalAcceleration (Sensor Logger; on an iPhone Gravity too) or 'Acceleration with g' (phyphox)"
        )
    if linear.unit != gravity.unit:
        raise InputError(f"{where}: linear acceleration is in {linear.unit}, gravity in {gravity.unit}; use one unit")
    notes.append("the acceleration is the sum of linear acceleration and gravity, which were recorded separately")
    inside = (linear.time_ns >= gravity.time_ns.min()) & (linear.time_ns <= gravity.time_ns.max())
    times = linear.time_ns[inside]
    if not len(times):
        raise InputError(f"{where}: linear acceleration and gravity were not recorded at the same time")
    start = gravity.time_ns[0]
    order = np.argsort(gravity.time_ns, kind="stable")
    parts = [  # gravity turns slowly: linear interpolation between its samples is exact enough
        np.interp((times - start).astype(float), (gravity.time_ns[order] - start).astype(float), axis[order])
        for axis in gravity.values.T
    ]
    total = linear.values[inside] + np.stack(parts, axis=1)
    return {**sensors, ACC: SensorTrack(times, total, linear.unit, linear.source)}


def _length(track: SensorTrack) -> float:
    return float(np.linalg.norm(np.nanmean(track.values, axis=0))) if len(track.values) else 0.0


def _labels(
    group: list[TablePart], annotations: list[Table], tracks: dict[str, SensorTrack]
) -> tuple[NDArray[np.int64], NDArray[np.int32], tuple[str | None, ...]]:
    """Return times, codes and names of the labels: a column of a table, else the annotations."""
    for part in group:
        table = part.table
        if len(table.labels) and any(name is not None for name in table.label_names):
            times, codes = table.time_ns[part.first : part.end], table.labels[part.first : part.end]
            order = np.argsort(times, kind="stable")
            return times[order], codes[order], table.label_names
    rows = [part for part in group if len(part.table.labels)]
    if rows:
        return rows[0].table.time_ns, rows[0].table.labels, rows[0].table.label_names
    track = tracks.get(ACC) or tracks.get(GYRO)
    if not annotations or track is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int32), ()
    stamps = np.concatenate([table.time_ns for table in annotations])
    texts = [table.label_names[code] for table in annotations for code in table.labels.tolist()]
    order = np.argsort(stamps, kind="stable")
    names: tuple[str | None, ...] = (None, *(texts[k] for k in order))
    times = np.sort(track.time_ns)
    codes = np.searchsorted(stamps[order], times, "right").astype(np.int32)
    # Equal labels get one code.
    unique = list(dict.fromkeys(names))
    mapped = np.array([unique.index(name) for name in names], np.int32)
    return times, mapped[codes], tuple(unique)
