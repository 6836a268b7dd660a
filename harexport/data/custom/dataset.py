"""Recordings of one's own as a data set: a folder of labelled CSVs, and harexport.toml that says what they are."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from harexport.data.custom import config
from harexport.data.custom import recording as own_recording
from harexport.data.custom.config import CONFIG_NAME, CustomConfig
from harexport.data.custom.recording import SETTLED, CustomRecording, WindowedRecording
from harexport.data.dataset import Dataset, Windows
from harexport.data.recordings.csv_format import normalize_label
from harexport.data.recordings.reader import PhoneRecording
from harexport.data.recordings.sensors import Units
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.preprocessing.stream import SETTLING_SECONDS
from harexport.utils.console import progress

_SUFFIXES = (".csv", ".tsv")
_MOST_NOTES = 20


@dataclasses.dataclass(frozen=True)
class _Part:
    """One recording's share of the data."""

    recording: CustomRecording
    subject: str
    cut: WindowedRecording


def find_folder(path: Path) -> Path:
    """The folder of recordings that `path` means: the folder itself, or its harexport.toml. Raises InputError."""
    folder = path.parent if path.name == CONFIG_NAME else path
    if not (folder / CONFIG_NAME).is_file():
        raise InputError(f"{folder} holds no {CONFIG_NAME}, which says what the columns of a recording are")
    return folder


def list_files(folder: Path) -> list[Path]:
    """harexport.toml and the recordings of `folder`, by name. Raises InputError where there are none."""
    try:
        inside = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    except OSError as error:
        raise InputError(f"cannot look into {folder}: {error.strerror or error}") from error
    found = [file for file in inside if file.suffix.lower() in _SUFFIXES and file.is_file()]
    if not found:
        others = [file.name for file in inside if file.name != CONFIG_NAME]
        has = f" (it holds {', '.join(others[:5])})" if others else ""
        raise InputError(f"{folder} holds no recording{has}: put one CSV file a recording beside {CONFIG_NAME}")
    return [folder / CONFIG_NAME, *found]


def load_custom_dataset(folder: Path) -> Dataset:
    """The windows of all recordings in `folder`. Raises InputError for everything that is not as it should be."""
    settings_file, *recordings = list_files(folder)
    settings = config.load_config(settings_file)
    if unknown := sorted(set(settings.subjects) - {file.name for file in recordings}):
        raise InputError(
            f"{settings_file}: [subjects] names {', '.join(unknown)}, which is not in the folder; there are "
            f"{_some([file.name for file in recordings])}"
        )
    read = []
    with progress("Reading recordings", len(recordings), "files") as advance:
        for done, file in enumerate(recordings, 1):
            recording = own_recording.read_recording(file, settings)
            read.append((recording, own_recording.find_subject(recording, settings)))
            advance(done)
    digest = _digest(settings_file, recordings)
    _check_labels(settings, [recording for recording, _ in read])
    parts = []
    with progress("Filtering recordings", len(read), "files") as advance:
        for done, (recording, subject) in enumerate(read, 1):
            cut = own_recording.make_windows(recording, settings.contract, settings.units, settings.contract.labels)
            parts.append(_Part(recording, subject, cut))
            advance(done)
    return _dataset(folder, settings, parts, digest)


def read_like_dataset(folder: Path, file: Path, said: Units) -> tuple[PhoneRecording, Units]:
    """A CSV read as the recordings of `folder` are, labelled or not; and the units, where `said` does not say others.

    Raises InputError.
    """
    settings = config.load_config(find_folder(folder) / CONFIG_NAME)
    recording = own_recording.read_recording(file, settings, labelled=False)
    units = Units(said.acc or settings.units.acc, said.gyro or settings.units.gyro)
    labels = tuple(zip(recording.label_times.tolist(), recording.labels, strict=True))
    return PhoneRecording("own layout", recording.tracks, labels, recording.notes), units


def _digest(settings_file: Path, recordings: Sequence[Path]) -> str:
    """SHA-256 over the names and contents. Raises InputError where two recordings are the same."""
    seen: dict[str, str] = {}
    lines = []
    for file in (settings_file, *recordings):
        try:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"cannot read {file}: {error.strerror or error}") from error
        if content in seen:
            raise InputError(
                f"{file.parent}: {seen[content]} and {file.name} are the same recording; remove one, or it would be "
                "learnt twice, and tested on what was learnt"
            )
        seen[content] = file.name
        lines.append(f"{file.name} {content}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _dataset(folder: Path, settings: CustomConfig, parts: list[_Part], digest: str) -> Dataset:
    where = str(settings.file)
    subjects = tuple(sorted({part.subject for part in parts}))
    having = sorted({part.subject for part in parts if part.cut.labels})
    labels = _labels(settings, parts)
    test, notes = _test_subjects(settings, having)
    _check_known(settings.validation_subjects, "validation_subjects", having, where)
    if not settings.validation_subjects:
        notes.append(
            f"{CONFIG_NAME} names no validation_subjects: training holds nobody out, so there are no validation figures"
        )
    learning = [name for name in having if name not in test]
    if set(learning) <= set(settings.validation_subjects):
        raise InputError(
            f"{where}: validation_subjects are all of the training subjects ({', '.join(learning)}); leave one out"
        )
    contract = dataclasses.replace(settings.contract, labels=labels)
    train = _windows([part for part in parts if part.subject not in test], subjects, contract)
    tested = _windows([part for part in parts if part.subject in test], subjects, contract)
    if missing := [name for k, name in enumerate(labels) if k not in train.labels]:
        raise InputError(
            f"{where}: no training subject ({', '.join(learning)}) has a whole window of {', '.join(missing)}: it "
            "cannot be learnt. Choose other test_subjects, record more, or leave it out of labels"
        )
    if missing := [name for k, name in enumerate(labels) if k not in tested.labels]:
        notes.append(f"No test subject ({', '.join(test)}) has a whole window of {', '.join(missing)}: never judged")
    return Dataset(
        train,
        tested,
        f"recordings of one's own: {len(parts)} in the folder {folder.resolve().name}, tested on {', '.join(test)}",
        digest,
        contract,
        subject_names=subjects,
        held_out=tuple(sorted(subjects.index(name) + 1 for name in settings.validation_subjects)),
        notes=(_summary(train, tested, parts), *notes, *_few(_remarks(parts, labels))),
    )


def _windows(parts: list[_Part], subjects: tuple[str, ...], contract: Contract) -> Windows:
    counts = [len(part.cut.labels) for part in parts]
    return Windows(
        np.concatenate([part.cut.signals for part in parts]),
        np.array([contract.labels.index(name) for part in parts for name in part.cut.labels], np.int64),
        np.repeat(np.array([subjects.index(part.subject) + 1 for part in parts], np.int64), counts),
        contract.hop,
    )


def _found(recordings: Iterable[CustomRecording]) -> list[str]:
    """The labels that the recordings carry, sorted."""
    return sorted({name for recording in recordings for name in set(recording.labels) if name is not None})


def _check_labels(settings: CustomConfig, recordings: list[CustomRecording]) -> None:
    """Raise InputError where labels are listed that nobody carries, or there is but one: before minutes of work."""
    found = _found(recordings)
    if typos := [name for name in settings.contract.labels if name not in found]:
        raise InputError(
            f"{settings.file}: labels names {', '.join(typos)}, which no recording carries; there are {_some(found)}"
        )
    labels = settings.contract.labels or tuple(found)
    if len(labels) < 2:
        raise InputError(f"{settings.file.parent}: all windows are {labels[0]}, and a model tells apart two or more")
    spellings = Counter(normalize_label(name) for name in labels)
    if twice := [name for name in labels if spellings[normalize_label(name)] > 1]:
        raise InputError(
            f"{settings.file.parent}: {', '.join(twice)} differ in nothing but case and spaces: are they one label? "
            f"Write it in one way, or list one of them under labels in {CONFIG_NAME}"
        )


def _labels(settings: CustomConfig, parts: list[_Part]) -> tuple[str, ...]:
    """The labels in their order: those that are listed, else those of any window, sorted. Raises InputError."""
    kept = sorted({name for part in parts for name in part.cut.labels})
    labels = settings.contract.labels or tuple(kept)
    if len(kept) < 2:
        contract = settings.contract
        raise InputError(
            f"{settings.file.parent}: {_only(kept)}, and a model tells apart two or more. A window is "
            f"{contract.window / contract.rate_hz:g} s of one label, and begins {SETTLING_SECONDS:g} s after the start "
            f"of a recording or later; the labels in the recordings are {_some(_found(p.recording for p in parts))}"
        )
    if lost := [name for name in settings.contract.labels if name not in kept]:
        raise InputError(
            f"{settings.file}: no recording has a whole window of {', '.join(lost)}: record it longer, choose a "
            "shorter window, or leave it out of labels"
        )
    return labels


def _test_subjects(settings: CustomConfig, having: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Who the model is tested on, and what to say of it. Raises InputError."""
    if len(having) < 2:
        raise InputError(
            f"{settings.file}: all windows are of {' and '.join(having)}: a model is judged on people that it did not "
            "learn from. Record somebody else too, or check what says whose a recording is (subject_pattern, "
            "[subjects], or a column subject)"
        )
    if settings.test_subjects:
        _check_known(settings.test_subjects, "test_subjects", having, str(settings.file))
        if set(having) <= set(settings.test_subjects):
            raise InputError(f"{settings.file}: test_subjects are all there are; leave some for training")
        return settings.test_subjects, []
    learning = [name for name in having if name not in settings.validation_subjects]
    test = tuple(learning[-max(1, round(len(having) / 5)) :])
    listed = ", ".join(f'"{name}"' for name in test)
    return test, [
        f"{CONFIG_NAME} names no test_subjects: the last fifth by name is tested on, {', '.join(test)}. To choose, write "
        f"test_subjects = [{listed}]"
    ]


def _check_known(names: tuple[str, ...], key: str, having: list[str], where: str) -> None:
    if unknown := [name for name in names if name not in having]:
        raise InputError(
            f"{where}: {key} names {', '.join(unknown)}, of whom there is no window; there are {', '.join(having)}"
        )


def _summary(train: Windows, test: Windows, parts: list[_Part]) -> str:
    settling, mixed = sum(part.cut.settling for part in parts), sum(part.cut.mixed for part in parts)
    return (
        f"{len(train)} training and {len(test)} test windows; left out: {settling} {SETTLED}, and {mixed} with several "
        "labels, or none that counts"
    )


def _remarks(parts: list[_Part], labels: tuple[str, ...]) -> list[str]:
    """What is odd about single recordings."""
    remarks = []
    if unused := [name for name in _found(part.recording for part in parts) if name not in labels]:
        remarks.append(f"Labels left out: {_some(unused)}")
    for part in parts:
        name, cut = part.recording.name, part.cut
        remarks += part.recording.notes
        if not cut.labels:
            remarks.append(f"{name} gives no window: it is too short, or its labels change too often")
        remarks += [f"{name}, at {at:.2f} s, starts anew: {reason}" for at, reason in cut.gaps]
        remarks += [
            f"{name}: {count} samples of the {sensor} repeat a time or come late: left out"
            for sensor, count in cut.left_out.items()
        ]
    return remarks


def _few(remarks: list[str]) -> list[str]:
    more = len(remarks) - _MOST_NOTES
    return remarks if more <= 0 else [*remarks[:_MOST_NOTES], f"... and {more} more remarks of this kind"]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _only(labels: list[str]) -> str:
    return f"all windows are {labels[0]}" if labels else "there is no window with a label"
