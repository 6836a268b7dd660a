"""Reader of the official UCI HAR folder or zip, with strict validation of every file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Dataset, Windows
from harexport.data.uci_har.manifest import (
    FOLDER,
    REQUIRED_FILES,
    SPLITS,
    labels_file,
    load_manifest,
    signal_file,
    subjects_file,
)
from harexport.errors import InputError
from harexport.model.contract import CHANNELS, LABELS, Contract
from harexport.utils.console import progress

CUSTOM_CONFIG = "harexport.toml"  # marks a folder of custom recordings
OFFICIAL = f"{FOLDER} (the official files, byte for byte)"
REMEDY = "Take a fresh copy of the archive, or omit the path: harexport then downloads the data"
_WINDOW = Contract().window
_ARCHIVE_LIMIT = 300_000_000  # bytes; the zip inside the UCI archive's zip has about 60 MB
# All that zipfile and its decompressors raise for damaged, encrypted or unsupported members.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)

FileReader = Callable[[str], bytes | None]  # name in the official folder -> content, None where it is missing


def read_dataset(path: Path, *, exact: bool = False) -> Dataset:
    """Read the official folder or zip.

    A folder of the same structure with other content is accepted; `Dataset.source` then names the files that differ.
    `Dataset.digest` is the SHA-256 over the names and SHA-256s of the required files.

    Args:
        path: Folder or zip, see `locate`.
        exact: Keep the published numbers in float64 instead of float32.

    Raises:
        InputError: A file is missing, damaged, or does not fit the others.
    """
    place = locate(path)
    digests: dict[str, str] = {}
    with open_files(place) as reader, progress(f"Reading {place.name}", len(REQUIRED_FILES), "files") as advance:

        def read(name: str) -> bytes:
            data = reader(name)
            if data is None:
                raise InputError(f"{place} lacks {name}. {REMEDY}")
            digests[name] = hashlib.sha256(data).hexdigest()
            advance(len(digests))
            return data

        train, test = (_read_split(read, split, place, exact) for split in SPLITS)
    if both := sorted(set(train.subjects.tolist()) & set(test.subjects.tolist())):
        raise InputError(
            f"{place}: subject {both} is in train and in test ({subjects_file('train')}, {subjects_file('test')}); "
            f"the test set must hold other people. {REMEDY}"
        )
    combined = hashlib.sha256("".join(f"{name} {digests[name]}\n" for name in REQUIRED_FILES).encode()).hexdigest()
    return Dataset(train, test, _describe_source(digests), combined)


def _describe_source(digests: dict[str, str]) -> str:
    differing = [name for name in REQUIRED_FILES if digests[name] != load_manifest()[name].sha256]
    if not differing:
        return OFFICIAL
    listed = ", ".join(differing[:3]) + (f" and {len(differing) - 3} more" if len(differing) > 3 else "")
    return f"{FOLDER} (not the official files: {listed} {'differs' if len(differing) == 1 else 'differ'})"


def _read_split(read: Callable[[str], bytes], split: str, place: Path, exact: bool) -> Windows:
    name = labels_file(split)
    labels = _parse_integers(read(name), f"{place}: {name}", 1, len(LABELS))
    name = subjects_file(split)
    subjects = _parse_integers(read(name), f"{place}: {name}", 1, 10**6)
    rows = {labels_file(split): len(labels), name: len(subjects)}
    signals = np.empty((len(labels), _WINDOW, len(CHANNELS)), np.float64 if exact else np.float32)
    for k, channel in enumerate(CHANNELS):
        name = signal_file(split, channel)
        values = _parse_numbers(read(name), _WINDOW, f"{place}: {name}")
        rows[name] = len(values)
        if len(values) == len(labels):
            signals[:, :, k] = values
    if len(set(rows.values())) > 1:
        usual = max(rows.values(), key=list(rows.values()).count)
        odd = ", ".join(f"{name} has {count}" for name, count in rows.items() if count != usual)
        raise InputError(f"{place}: the files of {split} do not match: {odd} rows, the others {usual}. {REMEDY}")
    return Windows(signals, labels - 1, subjects)


def _parse_integers(data: bytes, where: str, low: int, high: int) -> NDArray[np.int64]:
    values = _parse_numbers(data, 1, where)[:, 0]
    wrong = (values != np.round(values)) | (values < low) | (values > high)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{where}, row {row + 1} reads {values[row]:g}; expected a whole number {low}..{high}. {REMEDY}"
        )
    return values.astype(np.int64)


def _parse_numbers(data: bytes, columns: int, where: str) -> NDArray[np.float64]:
    """Parse rows of `columns` finite numbers, correctly rounded. Raises InputError."""
    if not data.strip():
        raise InputError(f"{where} is empty. {REMEDY}")
    if not data.endswith(b"\n"):  # a cut inside the last number would otherwise pass for a shorter number
        raise InputError(f"{where} is cut off in row {data.count(10) + 1}: its last line does not end. {REMEDY}")
    try:
        values: NDArray[np.float64] = np.loadtxt(io.StringIO(data.decode("ascii")), comments=None, ndmin=2)
    except ValueError as error:
        raise InputError(f"{where}{_describe_first_fault(data, columns)}. {REMEDY}") from error
    if values.shape[1] != columns or not np.isfinite(values).all():
        raise InputError(f"{where}{_describe_first_fault(data, columns)}. {REMEDY}")
    return values


def _describe_first_fault(data: bytes, columns: int) -> str:
    """Locate where the text stops being rows of `columns` finite numbers."""
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


def locate(path: Path) -> Path:
    """Find the official folder or zip at `path` or inside it.

    Raises:
        InputError: There is neither.
    """
    advice = (
        f"Pass the folder '{FOLDER}', its parent, or its zip; a folder of custom recordings needs a file "
        f"{CUSTOM_CONFIG}"
    )
    try:
        if path.is_file() or (path / "train").is_dir() or (path / "test").is_dir():
            return path
        if (path / FOLDER).is_dir():
            return path / FOLDER
        if (path / f"{FOLDER}.zip").is_file():
            return path / f"{FOLDER}.zip"
        if not path.exists():
            raise InputError(f"{path} does not exist. {advice}")
        if not path.is_dir():
            raise InputError(f"{path} is neither a folder nor a regular file. {advice}")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}. {advice}") from error
    raise InputError(f"{path} contains neither train/ and test/ nor '{FOLDER}' or '{FOLDER}.zip'. {advice}")


def source_files(place: Path) -> list[Path]:
    """List the files whose change means that the data changed: the zip, or every required file of the folder."""
    return [place] if place.is_file() else [place / name for name in REQUIRED_FILES]


@contextlib.contextmanager
def open_files(place: Path) -> Iterator[FileReader]:
    """Open a folder or zip that `locate` found; a zip may contain the official zip, as the UCI archive's does.

    Members are read by the official names and never extracted, so their stored paths cannot lead out of a folder.

    Raises:
        InputError: The zip, or a file read from it, is damaged or too large. Reading raises it too.
    """
    if place.is_dir():
        yield lambda name: _read_file(place / name, name)
        return
    with contextlib.ExitStack() as stack:
        archive, where = _open_zip(stack, place, str(place)), str(place)
        inner = [entry for entry in archive.namelist() if Path(entry).name == f"{FOLDER}.zip" and _is_data(entry)]
        if inner and _find_prefix(archive) is None:
            where = f"{place} ({inner[0]} in it)"
            content = _read_member(archive, archive.getinfo(inner[0]), _ARCHIVE_LIMIT, where)
            archive = _open_zip(stack, io.BytesIO(content), where)
        prefix = _find_prefix(archive)
        if prefix is None:
            raise InputError(f"{where} holds no file of '{FOLDER}'. {REMEDY}")
        members = {info.filename: info for info in archive.infolist()}

        def read(name: str) -> bytes | None:
            info = members.get(prefix + name)
            return None if info is None else _read_member(archive, info, _size_limit(name), where)

        yield read


def _size_limit(name: str) -> int:
    """Return the largest accepted size in bytes: the same numbers may be written with more digits."""
    return 4 * load_manifest()[name].size + 65536


def _read_file(path: Path, name: str) -> bytes | None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a device would never end
            raise InputError(f"{path} is not a regular file. {REMEDY}")
        if status.st_size > _size_limit(name):
            raise InputError(f"{path} is far larger than the official file. {REMEDY}")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _open_zip(stack: contextlib.ExitStack, file: Path | io.BytesIO, where: str) -> zipfile.ZipFile:
    try:
        return stack.enter_context(zipfile.ZipFile(file))
    except _ZIP_ERRORS as error:
        raise InputError(f"{where} is not a readable zip ({error}). {REMEDY}") from error


def _is_data(entry: str) -> bool:
    return not entry.startswith("__MACOSX/")  # macOS adds metadata under the same file names


def _find_prefix(archive: zipfile.ZipFile) -> str | None:
    """Return what precedes `train/...` in the member names; None where no required file is in the zip."""
    for entry in filter(_is_data, archive.namelist()):
        for name in REQUIRED_FILES:
            if entry == name or entry.endswith("/" + name):
                return entry.removesuffix(name)
    return None


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int, where: str) -> bytes:
    try:
        with archive.open(info) as stream:
            content = stream.read(limit + 1)  # the size in the zip's directory may be wrong
    except _ZIP_ERRORS as error:
        raise InputError(f"{where}: cannot unpack {info.filename} ({error}). {REMEDY}") from error
    if len(content) > limit:
        raise InputError(f"{where}: {info.filename} is far larger than the official file. {REMEDY}")
    return content
