"""The official folder, read strictly: a file that is not exactly what it should be ends in one sentence."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harexport.console import track
from harexport.contract import CHANNELS, LABELS, Contract
from harexport.data.archive import REMEDY, Reader, locate, opened
from harexport.data.exact import ExactDataset, ExactWindows
from harexport.data.facts import FOLDER, NEEDED, labels_file, manifest, signal_file, subjects_file
from harexport.data.windows import Dataset
from harexport.errors import InputError

OFFICIAL = f"{FOLDER} (the official files, byte for byte)"
_WINDOW = Contract().window


def read(path: Path) -> Dataset:
    """The windows in float32, as models read them. See `read_exact`."""
    return read_exact(path).rounded()


def read_exact(path: Path) -> ExactDataset:
    """Read the official folder or zip that `path` means (see archive.locate), every number as published.

    A set of the same structure but other content is accepted; `source` then names the files that differ.
    `digest` is the SHA-256 over the needed files' names and SHA-256s. Raises InputError.
    """
    place = locate(path)
    digests: dict[str, str] = {}
    with opened(place) as reader, track(f"Reading {place.name}", len(NEEDED), "files") as advance:

        def content(name: str) -> bytes:
            data = _present(reader, name, place)
            digests[name] = hashlib.sha256(data).hexdigest()
            advance(len(digests))
            return data

        train, test = (_read_split(content, split, place) for split in ("train", "test"))
    if both := sorted(set(train.subjects.tolist()) & set(test.subjects.tolist())):
        raise InputError(
            f"{place}: subject {both} is in train and in test ({subjects_file('train')}, {subjects_file('test')}), "
            f"so the test would not be of new people. {REMEDY}"
        )
    combined = hashlib.sha256("".join(f"{name} {digests[name]}\n" for name in NEEDED).encode()).hexdigest()
    return ExactDataset(train, test, _source(digests), combined)


def _source(digests: dict[str, str]) -> str:
    differing = [name for name in NEEDED if digests[name] != manifest()[name].sha256]
    if not differing:
        return OFFICIAL
    named = ", ".join(differing[:3]) + (f" and {len(differing) - 3} more" if len(differing) > 3 else "")
    return f"{FOLDER} (not the official files: {named} {'differs' if len(differing) == 1 else 'differ'})"


def _present(reader: Reader, name: str, place: Path) -> bytes:
    data = reader(name)
    if data is None:
        raise InputError(f"{place} lacks {name}. {REMEDY}")
    return data


def _read_split(content: Callable[[str], bytes], split: str, place: Path) -> ExactWindows:
    name = labels_file(split)
    labels = _whole_numbers(content(name), f"{place}: {name}", 1, len(LABELS))
    name = subjects_file(split)
    subjects = _whole_numbers(content(name), f"{place}: {name}", 1, 10**6)
    rows = {labels_file(split): len(labels), name: len(subjects)}
    signals = np.empty((len(labels), _WINDOW, len(CHANNELS)))
    for k, channel in enumerate(CHANNELS):
        name = signal_file(split, channel)
        values = _numbers(content(name), _WINDOW, f"{place}: {name}")
        rows[name] = len(values)
        if len(values) == len(labels):
            signals[:, :, k] = values
    if len(set(rows.values())) > 1:
        usual = max(rows.values(), key=list(rows.values()).count)
        odd = ", ".join(f"{name} has {count}" for name, count in rows.items() if count != usual)
        raise InputError(f"{place}: the files of {split} do not match: {odd} rows, the others {usual}. {REMEDY}")
    return ExactWindows(signals, labels - 1, subjects)


def _whole_numbers(data: bytes, where: str, low: int, high: int) -> NDArray[np.int64]:
    values = _numbers(data, 1, where)[:, 0]
    wrong = (values != np.round(values)) | (values < low) | (values > high)
    if wrong.any():
        row, expected = int(np.argmax(wrong)), f"a whole number {low}..{high}"
        raise InputError(f"{where}, row {row + 1} reads {values[row]:g}; expected {expected}. {REMEDY}")
    return values.astype(np.int64)


def _numbers(data: bytes, columns: int, where: str) -> NDArray[np.float64]:
    """Rows of `columns` finite numbers, parsed as published: correctly rounded. Raises InputError."""
    if not data.strip():
        raise InputError(f"{where} is empty. {REMEDY}")
    if not data.endswith(b"\n"):
        # A cut inside the last number would otherwise pass for a shorter number.
        raise InputError(f"{where} is cut off in row {data.count(10) + 1}: its last line does not end. {REMEDY}")
    try:
        values: NDArray[np.float64] = np.loadtxt(io.StringIO(data.decode("ascii")), comments=None, ndmin=2)
    except ValueError as error:
        raise InputError(f"{where}{_first_fault(data, columns)}. {REMEDY}") from error
    if values.shape[1] != columns or not np.isfinite(values).all():
        raise InputError(f"{where}{_first_fault(data, columns)}. {REMEDY}")
    return values


def _first_fault(data: bytes, columns: int) -> str:
    """Where the text stops being rows of `columns` finite numbers, in words."""
    for row, line in enumerate(data.split(b"\n"), start=1):
        fields = line.split()
        for column, field in enumerate(fields, start=1):
            try:
                finite = math.isfinite(float(field))
            except ValueError:
                finite = False
            if not finite:
                shown = field[:20].decode("ascii", "backslashreplace")
                return f", row {row}, column {column} reads '{shown}'; expected a finite number"
        if fields and len(fields) != columns:
            return f", row {row} has {len(fields)} numbers; expected {columns}"
    return " is not plain text with numbers"
