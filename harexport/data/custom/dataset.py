"""Custom datasets: a folder of labeled recordings with harexport.toml -> Dataset."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from harexport.data.custom import config as configs
from harexport.data.custom.archive import is_dataset_zip, unpack
from harexport.data.custom.config import CONFIG_NAME, CustomConfig, list_some
from harexport.data.custom.recording import (
    SETTLED,
    WindowedRecording,
    find_subject,
    make_windows,
    read_labeled,
    read_options,
)
from harexport.data.dataset import Coverage, Dataset, Windows
from harexport.data.recordings.csv_format import Units, normalize_label
from harexport.data.recordings.files import SUFFIXES, list_folder
from harexport.data.recordings.reader import PhoneRecording, read_recordings
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.preprocessing.stream import SETTLING_SECONDS
from harexport.utils.console import progress

_MOST_NOTES = 20


@dataclasses.dataclass(frozen=True)
class _Part:
    """Windows of one recording."""

    recording: PhoneRecording
    subject: str
    windowed: WindowedRecording


def find_folder(path: Path) -> Path:
    """Return the folder of a dataset: the path, the folder of its harexport.toml, or its unpacked zip.

    Raises:
        InputError: There is no harexport.toml, or the zip cannot be unpacked.
    """
    if is_dataset_zip(path):
        return unpack(path)
    folder = path.parent if path.name == CONFIG_NAME else path
    if not (folder / CONFIG_NAME).is_file():
        raise InputError(f"{folder} holds no {CONFIG_NAME}, which describes the recordings")
    return folder


def list_files(folder: Path) -> list[Path]:
    """List harexport.toml and all files of recordings, sorted.

    Raises:
        InputError: There are no recordings, or the folder cannot be read.
    """
    inside = list_folder(folder)
    found = [file for file in inside if file.suffix.lower() in (*SUFFIXES, ".zip")]
    if not found:
        others = [file.name for file in inside if file.name != CONFIG_NAME]
        listed = f" (it holds {', '.join(others[:5])})" if others else ""
        raise InputError(f"{folder} holds no recording{listed}: put one CSV file per recording beside {CONFIG_NAME}")
    return [folder / CONFIG_NAME, *found]


def load_custom_dataset(folder: Path) -> Dataset:
    """Load a custom dataset.

    Args:
        folder: Folder with harexport.toml and recordings: CSVs, folders or zips, also in subfolders.

    Raises:
        InputError: A recording cannot be read or has no labels, a subject is unknown, or the windows are not enough for
            training and test.
    """
    config_file, *files = list_files(folder)
    config = configs.load_config(config_file)
    parts: list[_Part] = []
    with progress("Reading recordings", None, "recordings") as advance:
        read = []
        for recording in read_labeled(folder, config):
            read.append((recording, find_subject(recording, config)))
            advance(len(read))
    if not read:
        raise InputError(f"{folder} holds no recording: no CSV in it has a sensor")
    paths = {recording.path for recording, _ in read}
    names = paths | {path.rpartition("/")[2] for path in paths}
    if unknown := sorted(set(config.subjects) - names):
        raise InputError(
            f"{config_file}: [subjects] names {', '.join(unknown)}, which is not in the folder; there are "
            f"{list_some(sorted(paths))}"
        )
    _check_duplicates(folder, [recording for recording, _ in read])
    digest = _digest(folder, [config_file, *files])
    _check_labels(config, [recording for recording, _ in read])
    with progress("Filtering recordings", len(read), "recordings") as advance:
        for done, (recording, subject) in enumerate(read, 1):
            windowed = make_windows(recording, config, config.contract, config.labels)
            parts.append(_Part(recording, subject, windowed))
            advance(done)
    return _build_dataset(folder, config, parts, digest)


def read_like_dataset(folder: Path, path: Path, units: Units) -> tuple[list[PhoneRecording], Units]:
    """Read recordings, labeled or not, with the columns and units of a dataset.

    Args:
        folder: Folder of the dataset.
        path: CSV, folder or zip.
        units: Units stated by the user, which replace those of the dataset.

    Returns:
        The recordings, and the units to use.

    Raises:
        InputError: The dataset has no harexport.toml, or a recording cannot be read.
    """
    config = configs.load_config(find_folder(folder) / CONFIG_NAME)
    merged = Units(
        units.acc or config.units.acc,
        units.gyro or config.units.gyro,
        time=units.time or config.time_unit,
        signs=units.signs or config.units.signs,
    )
    options = dataclasses.replace(read_options(config), units=merged, is_strict=False)
    return read_recordings(path, options), merged


def _digest(folder: Path, files: Sequence[Path]) -> str:
    """Return the SHA-256 over the names and contents of the files."""
    lines = []
    for file in files:
        try:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"cannot read {file}: {error.strerror or error}") from error
        lines.append(f"{file.relative_to(folder).as_posix()} {content}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _check_duplicates(folder: Path, recordings: list[PhoneRecording]) -> None:
    seen: dict[bytes, str] = {}
    for recording in recordings:
        content = hashlib.sha256()
        for sensor, track in sorted(recording.tracks.items()):
            content.update(sensor.encode() + track.values.tobytes())
        if (other := seen.setdefault(content.digest(), recording.path)) != recording.path:
            raise InputError(
                f"{folder}: {other} and {recording.path} are the same recording; remove one, so that the test set does "
                "not contain training data"
            )


def _build_dataset(folder: Path, config: CustomConfig, parts: list[_Part], digest: str) -> Dataset:
    where = str(config.file)
    subjects = tuple(sorted({part.subject for part in parts}))
    with_windows = sorted({part.subject for part in parts if part.windowed.labels})
    labels = _labels(config, parts)
    test, notes = _test_subjects(config, with_windows)
    _check_known(config.validation_subjects, "validation_subjects", with_windows, where)
    if not config.validation_subjects:
        notes.append(
            f"{CONFIG_NAME} names no validation_subjects: no subjects are held out, so there are no validation figures"
        )
    training = [name for name in with_windows if name not in test]
    if set(training) <= set(config.validation_subjects):
        raise InputError(
            f"{where}: validation_subjects are all of the training subjects ({', '.join(training)}); remove one"
        )
    contract = dataclasses.replace(config.contract, labels=labels)
    train = _windows([part for part in parts if part.subject not in test], subjects, contract)
    tested = _windows([part for part in parts if part.subject in test], subjects, contract)
    if missing := [name for k, name in enumerate(labels) if k not in train.labels]:
        raise InputError(
            f"{where}: no training subject ({', '.join(training)}) has a whole window of {', '.join(missing)}. Choose "
            "other test_subjects, record more, or remove it from labels"
        )
    if missing := [name for k, name in enumerate(labels) if k not in tested.labels]:
        notes.append(
            f"No test subject ({', '.join(test)}) has a whole window of {', '.join(missing)}: it is not tested"
        )
    return Dataset(
        train,
        tested,
        f"custom recordings: {len(parts)} in the folder {folder.resolve().name}, tested on {', '.join(test)}",
        digest,
        contract,
        subject_names=subjects,
        held_out=tuple(sorted(subjects.index(name) + 1 for name in config.validation_subjects)),
        notes=(_summarize(train, tested, parts), *notes, *_limit(_remarks(parts, labels))),
        coverage=_coverage(parts),
    )


def _coverage(parts: list[_Part]) -> tuple[Coverage, ...]:
    """Return seconds and windows by subject and label."""
    seconds: dict[tuple[str, str], float] = {}
    windows: Counter[tuple[str, str]] = Counter()
    for part in parts:
        for label, amount in part.windowed.label_seconds.items():
            seconds[part.subject, label] = seconds.get((part.subject, label), 0.0) + amount
        windows.update((part.subject, label) for label in part.windowed.labels)
    return tuple(
        Coverage(subject, label, round(seconds[subject, label], 1), windows[subject, label])
        for subject, label in sorted(seconds)
    )


def _windows(parts: list[_Part], subjects: tuple[str, ...], contract: Contract) -> Windows:
    counts = [len(part.windowed.labels) for part in parts]
    return Windows(
        np.concatenate([part.windowed.signals for part in parts]),
        np.array([contract.labels.index(name) for part in parts for name in part.windowed.labels], np.int64),
        np.repeat(np.array([subjects.index(part.subject) + 1 for part in parts], np.int64), counts),
        contract.hop,
    )


def _find_labels(recordings: Iterable[PhoneRecording]) -> list[str]:
    """Return all labels of the recordings, sorted."""
    return sorted(
        {
            name
            for recording in recordings
            for code in np.unique(recording.label_codes).tolist()
            if (name := recording.label_names[code]) is not None
        }
    )


def _check_labels(config: CustomConfig, recordings: list[PhoneRecording]) -> None:
    """Check the labels before the recordings are filtered, which takes longer."""
    found = _find_labels(recordings)
    if unknown := [name for name in config.labels if name not in found]:
        raise InputError(
            f"{config.file}: labels names {', '.join(unknown)}, which no recording has; there are {list_some(found)}"
        )
    labels = config.labels or tuple(found)
    if len(labels) < 2:
        raise InputError(f"{config.file.parent}: all windows are {labels[0]}; a model needs two labels or more")
    spellings = Counter(normalize_label(name) for name in labels)
    if twice := [name for name in labels if spellings[normalize_label(name)] > 1]:
        raise InputError(
            f"{config.file.parent}: {', '.join(twice)} differ only in case and spaces: are they one label? Write it in "
            f"one way, or list one of them under labels in {CONFIG_NAME}"
        )


def _labels(config: CustomConfig, parts: list[_Part]) -> tuple[str, ...]:
    """Return the labels in their order: those of the configuration, else those of all windows, sorted."""
    used = sorted({name for part in parts for name in part.windowed.labels})
    labels = config.labels or tuple(used)
    if len(used) < 2:
        contract = config.contract
        found = f"all windows are {used[0]}" if used else "there is no window with a label"
        raise InputError(
            f"{config.file.parent}: {found}; a model needs two labels or more. A window is "
            f"{contract.window / contract.rate_hz:g} s of one label, and begins {SETTLING_SECONDS:g} s after the start "
            f"of a recording or later; the labels of the recordings are "
            f"{list_some(_find_labels(part.recording for part in parts))}"
        )
    if missing := [name for name in config.labels if name not in used]:
        raise InputError(
            f"{config.file}: no recording has a whole window of {', '.join(missing)}: record it longer, use a shorter "
            "window, or remove it from labels"
        )
    return labels


def _test_subjects(config: CustomConfig, with_windows: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the test subjects and notes on them. Raises InputError."""
    if len(with_windows) < 2:
        raise InputError(
            f"{config.file}: all windows are of {' and '.join(with_windows)}, and a model is tested on people that it "
            "was not trained on. Record another person, or check subject_pattern, [subjects] or the column subject"
        )
    where = str(config.file)
    _check_known(config.test_subjects, "test_subjects", with_windows, where)
    if set(with_windows) <= set(config.test_subjects):
        raise InputError(f"{where}: test_subjects are all subjects; leave some for training")
    if config.test_subjects:
        return config.test_subjects, []
    training = [name for name in with_windows if name not in config.validation_subjects]
    test = tuple(training[-max(1, round(len(with_windows) / 5)) :])
    listed = ", ".join(f'"{name}"' for name in test)
    return test, [
        f"{CONFIG_NAME} names no test_subjects: the last fifth by name is the test set, {', '.join(test)}. To choose, "
        f"write test_subjects = [{listed}]"
    ]


def _check_known(names: tuple[str, ...], key: str, with_windows: list[str], where: str) -> None:
    if unknown := [name for name in names if name not in with_windows]:
        raise InputError(
            f"{where}: {key} names {', '.join(unknown)}, who has no windows; there are {', '.join(with_windows)}"
        )


def _summarize(train: Windows, test: Windows, parts: list[_Part]) -> str:
    settling, mixed = (sum(getattr(part.windowed, name) for part in parts) for name in ("settling", "mixed"))
    return (
        f"{len(train)} training and {len(test)} test windows; left out: {settling} {SETTLED}, and {mixed} with several "
        "labels, or none that is used"
    )


def _remarks(parts: list[_Part], labels: tuple[str, ...]) -> list[str]:
    """Describe what is unusual about single recordings."""
    remarks = []
    if unused := [name for name in _find_labels(part.recording for part in parts) if name not in labels]:
        remarks.append(f"Labels left out: {list_some(unused)}")
    for part in parts:
        name, windowed = part.recording.path, part.windowed
        remarks += [f"{name}: {note}" for note in (*part.recording.notes, *windowed.notes)]
        if not windowed.labels:
            remarks.append(f"{name} gives no window: it is too short, or its labels change too often")
        remarks += [f"{name}, at {at:.2f} s: the filters restart, {reason}" for at, reason in windowed.gaps]
        remarks += [
            f"{name}: {count} samples of the {sensor} repeat a time or come late: left out"
            for sensor, count in windowed.dropped.items()
        ]
    return remarks


def _limit(remarks: list[str]) -> list[str]:
    more = len(remarks) - _MOST_NOTES
    return remarks if more <= 0 else [*remarks[:_MOST_NOTES], f"... and {more} more remarks of this kind"]
