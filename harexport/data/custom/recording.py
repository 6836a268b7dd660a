"""Recordings of a custom dataset: subject, labels, and the windows that carry one label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from harexport.data.custom.config import CONFIG_NAME, LABEL, SUBJECT, CustomConfig, match_pattern
from harexport.data.recordings.reader import PhoneRecording, ReadOptions, iterate_recordings
from harexport.data.recordings.sensors import resolve_sensors
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.preprocessing.batch import preprocess_samples
from harexport.preprocessing.resampler import MAX_PLAUSIBLE, SECOND, Restart
from harexport.preprocessing.stream import SETTLING_SECONDS

SETTLED = f"that begin in the first {SETTLING_SECONDS:g} s after a start or a gap, while the filters settle"


@dataclass(frozen=True)
class WindowedRecording:
    """Windows of a recording that carry one label.

    Attributes:
        signals: float32 [n, window, channels].
        labels: Name of the label of each window.
        label_seconds: Seconds of recording by label.
        settling: Number of windows left out because the filters settle.
        mixed: Number of windows left out because of several labels or unlabeled samples.
        gaps: (seconds since the first sample, reason) where the filters were restarted.
        dropped: Number of samples that repeat a time or come late, by sensor.
        notes: What was inferred about the sensors.
    """

    signals: NDArray[np.float32]
    labels: tuple[str, ...]
    label_seconds: dict[str, float]
    settling: int
    mixed: int
    gaps: tuple[tuple[float, str], ...]
    dropped: dict[str, int]
    notes: tuple[str, ...] = ()


def read_options(config: CustomConfig) -> ReadOptions:
    """Return how the recordings of a dataset are read."""
    return ReadOptions(config.columns, replace(config.units, time=config.time_unit), is_strict=True)


def read_labeled(folder: Path, config: CustomConfig) -> Iterator[PhoneRecording]:
    """Read the recordings of a dataset with their labels.

    Raises:
        InputError: A file cannot be read, or a recording has no labels.
    """
    for recording in iterate_recordings(folder, read_options(config)):
        yield label_recording(recording, config)


def label_recording(recording: PhoneRecording, config: CustomConfig) -> PhoneRecording:
    """Return a recording with the label of label_pattern, if there is one, and notes on unreadable samples.

    Raises:
        InputError: The recording has no labels, or label_pattern does not match its name.
    """
    notes = list(recording.notes)
    for sensor, track in recording.tracks.items():
        unreadable = ~(np.abs(track.values) < MAX_PLAUSIBLE).all(axis=1)  # NaN compares as false
        if count := int(unreadable.sum()):
            line = ""
            if recording.line_numbers is not None and sensor in recording.line_numbers:
                line = f" (the first in line {int(recording.line_numbers[sensor][int(np.argmax(unreadable))])})"
            notes.append(f"{count} samples of the {sensor} are not numbers{line}: left out")
    recording = replace(recording, notes=tuple(notes))
    if config.label_pattern is not None:
        found = match_pattern(config.label_pattern, LABEL, recording.path)
        if found is None:
            raise InputError(
                f"{config.file}: label_pattern {config.label_pattern!r} does not match {recording.path}; rename the "
                "file, or change the pattern"
            )
        times = np.unique(np.concatenate([track.time_ns for track in recording.tracks.values()]))
        return replace(recording, label_times=times, label_codes=np.zeros(len(times), np.int32), label_names=(found,))
    if not recording.has_labels:
        patterns = (f"{SUBJECT}_{LABEL}.csv", f"{LABEL}/*", f"{SUBJECT}/{LABEL}/*")  # by the number of folders
        raise InputError(
            f"{recording.path}: no labels: no column of labels is filled. Name the column by columns.label, "
            f'or write label_pattern = "{patterns[min(recording.path.count("/"), 2)]}" in {CONFIG_NAME} if names of '
            "files or folders contain the label; or remove the recording from the folder"
        )
    return recording


def make_windows(
    recording: PhoneRecording, config: CustomConfig, contract: Contract, wanted: tuple[str, ...] = ()
) -> WindowedRecording:
    """Cut the windows that a phone would make of a recording.

    A window is used if it begins after the filters have settled and all its samples carry the same label.

    Args:
        recording: Recording with labels.
        config: Units of the dataset.
        contract: Contract of the windows.
        wanted: Labels to use; empty: all.

    Raises:
        InputError: A sensor is missing, slow, or of unknown unit.
    """
    units = replace(config.units, time=config.time_unit)
    info = resolve_sensors(recording.tracks, contract, units, recording.path, recording.missing)
    tracks = {sensor: recording.tracks[sensor] for sensor in info.rates}
    zero_ns = min(int(track.time_ns.min()) for track in tracks.values())
    samples = {sensor: (track.time_ns, track.values) for sensor, track in tracks.items()}
    events, dropped = preprocess_samples(samples, contract, info.units, info.average_over)
    signals: list[NDArray[np.float32]] = []
    labels: list[str] = []
    settling = mixed = 0
    for window in events:
        if isinstance(window, Restart):
            continue
        label = recording.label_between(window.start_ns, window.end_ns)
        if not window.is_settled:
            settling += 1
        elif label is None or (wanted and label not in wanted):
            mixed += 1
        else:
            signals.append(window.array().astype(np.float32))
            labels.append(label)
    shape = (0, contract.window, len(contract.channels))
    late = {sensor: counts.repeated + counts.late for sensor, counts in dropped.items()}
    return WindowedRecording(
        np.stack(signals) if signals else np.zeros(shape, np.float32),
        tuple(labels),
        _label_seconds(recording),
        settling,
        mixed,
        tuple(((e.time_ns - zero_ns) / SECOND, e.reason) for e in events if isinstance(e, Restart)),
        {sensor: count for sensor, count in late.items() if count},
        info.notes,
    )


def _label_seconds(recording: PhoneRecording) -> dict[str, float]:
    """Return the seconds of each label; gaps of more than a second do not count."""
    times, codes = recording.label_times, recording.label_codes
    steps = np.minimum(np.diff(times), SECOND) / SECOND
    if len(times) < 2:
        return {}
    totals = np.bincount(codes[:-1], steps, len(recording.label_names))
    return {name: float(total) for name, total in zip(recording.label_names, totals, strict=False) if name is not None}


def find_subject(recording: PhoneRecording, config: CustomConfig) -> str:
    """Return the subject of a recording: from [subjects], subject_pattern, or its column.

    Raises:
        InputError: The subject is unknown.
    """
    for name in (recording.path, PurePosixPath(recording.path).name):
        if (subject := config.subjects.get(name)) is not None:
            return subject
    if config.subject_pattern is not None:
        found = match_pattern(config.subject_pattern, SUBJECT, recording.path)
        if found is None:
            raise InputError(
                f"{config.file}: subject_pattern {config.subject_pattern!r} does not match {recording.path}; rename "
                f'the file, or add "{recording.path}" = "..." under [subjects]'
            )
        return found
    if recording.subject is not None:
        return recording.subject
    patterns = (f"{SUBJECT}_*.csv", f"{SUBJECT}/*", f"{SUBJECT}/*/*")  # by the number of folders
    raise InputError(
        f"{recording.path}: the subject is unknown, and the test set must hold other people than the training set. In "
        f'{config.file} write subject_pattern = "{patterns[min(recording.path.count("/"), 2)]}" if names of files or '
        f'folders contain it, or "{recording.path}" = "..." under [subjects]; or add a column subject'
    )
