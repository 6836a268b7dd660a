"""Files of recordings: a CSV, or the CSVs in a folder or zip."""

from __future__ import annotations

import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from harexport.errors import InputError

SUFFIXES = (".csv", ".txt", ".tsv")
_LARGEST = 2_000_000_000  # bytes of all members of a zip: a day of two sensors at 400 Hz has less
# Recordings are 2 to 20 times as large as their zip; one of blank lines or equal rows is 400 to 1000 times as large.
_SUSPICIOUS, _HIGHEST_RATIO = 100_000_000, 200
_MOST_FILES = 10_000
# All that zipfile and its decompressors raise for damaged, encrypted or unsupported members.
ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError, OSError,
)  # fmt: skip


def check_unpacked_size(members: Sequence[zipfile.ZipInfo], path: Path) -> None:
    """Raise InputError if the members of a zip unpack to more bytes than recordings have."""
    size, packed = sum(info.file_size for info in members), sum(info.compress_size for info in members)
    if size > _LARGEST or (size > _SUSPICIOUS and size > _HIGHEST_RATIO * packed):
        raise InputError(f"{path} is refused: {packed:,} bytes unpack to {size:,}, more than recordings do")


def list_folder(folder: Path) -> list[Path]:
    """List the regular files in a folder and its subfolders, sorted; hidden ones are left out.

    Raises:
        InputError: The folder or a subfolder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot read {error.filename}: {error.strerror or error}") from error

    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(file for file in found if file.is_file())


@dataclass
class RecordingFile:
    """A file of a recording: its path in the folder or zip, and how to open it."""

    name: str
    where: str
    open: Callable[[], AbstractContextManager[BinaryIO]]

    @property
    def folder(self) -> str:
        return str(PurePosixPath(self.name).parent).removeprefix(".")

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem


def is_zip(path: Path) -> bool:
    """Return whether a regular file is a zip. Raises InputError where it cannot be read or is no regular file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} is not a regular file; pass a CSV, folder or zip, or pipe samples into --follow")
        with path.open("rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


class OpenedFiles:
    """The files of a folder, zip or CSV, sorted by folder and name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._archives: list[zipfile.ZipFile] = []

    def __enter__(self) -> list[RecordingFile]:
        path = self._path
        if path.is_dir():
            files = self._in_folder(path)
        elif is_zip(path):
            files = self._in_zip(path, "")
            if not files:
                raise InputError(f"{path} is a zip without CSV files; export the recording as CSV")
        else:
            return [RecordingFile(path.name, str(path), lambda: path.open("rb"))]
        if len(files) > _MOST_FILES:
            raise InputError(
                f"{path} holds {len(files):,} files; at most {_MOST_FILES:,} are read. Pass its subfolders"
            )
        return sorted(files, key=lambda file: (file.folder, file.name))

    def __exit__(self, *_: object) -> None:
        for archive in self._archives:
            archive.close()

    def _in_folder(self, path: Path) -> list[RecordingFile]:
        files: list[RecordingFile] = []
        for file in list_folder(path):
            name = file.relative_to(path).as_posix()
            if file.suffix.lower() in SUFFIXES:
                files.append(RecordingFile(name, f"{path}: {name}", lambda file=file: file.open("rb")))  # type: ignore[misc]
            elif file.suffix.lower() == ".zip":
                files += self._in_zip(file, f"{name}/")
        if not files:
            raise InputError(f"{path} is a folder without CSV files; pass a recording, or the folder or zip it is in")
        return files

    def _in_zip(self, path: Path, prefix: str) -> list[RecordingFile]:
        try:
            archive = zipfile.ZipFile(path)
            self._archives.append(archive)
            infos = [
                info
                for info in archive.infolist()
                if info.filename.lower().endswith(SUFFIXES)
                and not info.filename.startswith("meta/")
                and not info.filename.startswith("__MACOSX/")
                and not PurePosixPath(info.filename).name.startswith(".")
            ]
            check_unpacked_size(infos, path)
        except ZIP_ERRORS as error:
            raise InputError(f"{path} cannot be unpacked ({error}); export the recording again") from error
        names = archive.namelist()
        if not infos and "xl/workbook.xml" in names:
            raise InputError(f"{path} is an Excel workbook; save it as CSV")
        if not infos and (inner := [name for name in names if name.lower().endswith(".zip")]):
            raise InputError(f"{path} holds other zips ({', '.join(inner[:3])}); unpack it and pass the folder")
        return [
            RecordingFile(prefix + info.filename, f"{path}: {info.filename}", lambda info=info: archive.open(info))  # type: ignore[misc,arg-type]
            for info in infos
        ]
