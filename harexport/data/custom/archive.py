"""A zip with recordings and harexport.toml."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from pathlib import Path

from harexport.data.recordings.files import SUFFIXES, ZIP_ERRORS, check_unpacked_size
from harexport.data.uci_har.download import cache_folder
from harexport.data.uci_har.reader import CUSTOM_CONFIG
from harexport.errors import InputError


def is_dataset_zip(path: Path) -> bool:
    """Return whether a path is a zip with a harexport.toml at its top."""
    try:
        if not path.is_file():  # a device would never end
            return False
        with zipfile.ZipFile(path) as archive:
            return CUSTOM_CONFIG in archive.namelist()
    except ZIP_ERRORS:  # no zip, or a damaged one: the reader of its format reports it
        return False


def unpack(path: Path) -> Path:
    """Unpack a dataset into the user's cache folder, once per content.

    Args:
        path: Zip for which `is_dataset_zip` is true.

    Returns:
        The folder with harexport.toml and the recordings.

    Raises:
        InputError: The zip is damaged or too large, or cannot be unpacked.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        parent = cache_folder() / "unpacked"
        folder = parent / digest[:16] / path.stem
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=parent))
        try:
            with zipfile.ZipFile(path) as archive:
                members = [
                    info
                    for info in archive.infolist()
                    if info.filename == CUSTOM_CONFIG or info.filename.lower().endswith(SUFFIXES)
                ]
                check_unpacked_size(members, path)
                for info in members:
                    archive.extract(info, part)  # removes ".." and absolute paths
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except ZIP_ERRORS as error:
        raise InputError(f"{path} cannot be unpacked ({error}); make the zip again") from error
    return folder
