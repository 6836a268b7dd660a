"""The official files as bytes, from a folder or a zip: nothing is trusted that comes out of a zip.

A place (folder or zip) opens as a `Reader`: it answers a name inside the official folder with the file's
bytes, or None where the file is missing.
"""

from __future__ import annotations

import contextlib
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from harexport.data.facts import FOLDER, NEEDED, manifest
from harexport.errors import InputError

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
