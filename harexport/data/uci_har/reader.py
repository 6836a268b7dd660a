"""The official folder, read strictly: a file that is not exactly what it should be ends in one sentence."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Dataset, ExactDataset, ExactWindows
from harexport.data.uci_har.manifest import FOLDER, NEEDED, labels_file, manifest, signal_file, subjects_file
from harexport.errors import InputError
from harexport.model.contract import CHANNELS, LABELS, Contract
from harexport.utils.console import progress

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
    with opened(place) as reader, progress(f"Reading {place.name}", len(NEEDED), "files") as advance:

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


REMEDY = "Take a fresh copy of the archive, or leave the path out: harexport then fetches the data itself"
OWN_SETTINGS = "harexport.toml"  # beside one's own recordings (own.py)
_INNER_LIMIT = 300_000_000  # bytes; the zip inside the UCI archive's zip has about 60 MB
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)

Reader = Callable[[str], bytes | None]


def locate(path: Path) -> Path:
    """The official folder or the zip that `path` means: itself, or what lies in it. Raises InputError."""
    advice = (
        f"Name the folder '{FOLDER}', the folder it lies in, or its zip; a folder of your own recordings needs a file "
        f"{OWN_SETTINGS} in it"
    )
    try:
        if path.is_file() or (path / "train").is_dir() or (path / "test").is_dir():
            return path
        for found in (path / FOLDER, path / f"{FOLDER}.zip"):
            if found.exists():
                return found
        if not path.exists():
            raise InputError(f"{path} does not exist. {advice}")
    except OSError as error:
        raise InputError(f"cannot look into {path}: {error.strerror or error}. {advice}") from error
    raise InputError(f"{path} holds neither train/ and test/ nor '{FOLDER}' or '{FOLDER}.zip'. {advice}")


def stamped_files(place: Path) -> list[Path]:
    """The files whose change means that the data changed: the zip, or every needed file of the folder."""
    return [place] if place.is_file() else [place / name for name in NEEDED]


@contextlib.contextmanager
def opened(place: Path) -> Iterator[Reader]:
    """Open the folder or zip that `locate` found. Raises InputError, also from the reader."""
    if place.is_dir():
        yield lambda name: _read_plain(place / name, name)
        return
    with contextlib.ExitStack() as stack:
        archive, where = _open_zip(stack, place, str(place)), str(place)
        inner = [entry for entry in archive.namelist() if Path(entry).name == f"{FOLDER}.zip" and _is_data(entry)]
        if inner and _prefix(archive) is None:
            where = f"{place} ({inner[0]} in it)"
            content = _read_entry(archive, archive.getinfo(inner[0]), _INNER_LIMIT, where)
            archive = _open_zip(stack, io.BytesIO(content), where)
        prefix = _prefix(archive)
        if prefix is None:
            raise InputError(f"{where} holds no file of '{FOLDER}'. {REMEDY}")
        entries = {info.filename: info for info in archive.infolist()}

        def read(name: str) -> bytes | None:
            info = entries.get(prefix + name)
            return None if info is None else _read_entry(archive, info, _limit(name), where)

        yield read


def _limit(name: str) -> int:
    """Bytes a file may have: the same numbers may be spelt at length, but not endlessly."""
    return 4 * manifest()[name].size + 65536


def _read_plain(path: Path, name: str) -> bytes | None:
    try:
        if path.stat().st_size > _limit(name):
            raise InputError(f"{path} is far larger than the official file. {REMEDY}")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _open_zip(stack: contextlib.ExitStack, file: Path | io.BytesIO, where: str) -> zipfile.ZipFile:
    try:
        archive = stack.enter_context(zipfile.ZipFile(file))
    except _ZIP_ERRORS as error:
        raise InputError(f"{where} is not a readable zip ({error}). {REMEDY}") from error
    for info in archive.infolist():
        # `orig_filename` is what the zip says; `filename` was already tidied for this operating system.
        parts = re.split(r"[/\\]", info.orig_filename)
        if parts[0] == "" or ".." in parts or ":" in parts[0]:
            raise InputError(f"{where} is refused: its entry {info.orig_filename!r} climbs out of the folder. {REMEDY}")
    return archive


def _is_data(entry: str) -> bool:
    return not entry.startswith("__MACOSX/")  # a Mac's notes on each file, under the file's own name


def _prefix(archive: zipfile.ZipFile) -> str | None:
    """What stands before `train/...` in the entries' names; None where no needed file is in the zip."""
    for entry in filter(_is_data, archive.namelist()):
        for name in NEEDED:
            if entry == name or entry.endswith("/" + name):
                return entry.removesuffix(name)
    return None


def _read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int, where: str) -> bytes:
    if info.flag_bits & 1:
        raise InputError(f"{where}: {info.filename} is encrypted. The official archive has no password. {REMEDY}")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{where}: {info.filename} is packed in a way that the official archive is not. {REMEDY}")
    try:
        with archive.open(info) as stream:
            # One byte more than allowed is enough to know; the size that the zip announces may be a lie.
            content = stream.read(limit + 1) if info.file_size <= limit else None
    except _ZIP_ERRORS as error:
        raise InputError(f"{where}: {info.filename} is damaged ({error}). {REMEDY}") from error
    if content is None or len(content) > limit:
        raise InputError(f"{where} is refused: {info.filename} unpacks to far more than the official file. {REMEDY}")
    return content
