"""Parsed windows, kept beside the data so that the next start takes a moment.

Two kinds of files: `windows-<digest>.npz` holds arrays and is named after the content they were read
from; `seen-<place>.json` remembers which content a place held, and by which signs to know it again.
Both can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harexport.data.dataset import Dataset, Windows
from harexport.data.uci_har.download import cache_folder
from harexport.data.uci_har.manifest import SPLITS
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.utils.console import info
from harexport.utils.files import atomic_write, write_json, write_text

_VERSION = 2  # raise it when parsing or rebuilding gives other arrays for the same files
_SETTLED_SECONDS = 2.0  # the coarsest clock among file systems in use (FAT)
_ARRAYS = ("signals", "labels", "subjects")


def cached(place: Path, files: list[Path], parse: Callable[[], Dataset]) -> Dataset:
    """The data set at `place`: from the cache where its `files` are unchanged, else from `parse`."""
    folder = _folder(place)
    seen = folder / f"seen-{hashlib.sha256(str(place.resolve()).encode()).hexdigest()[:16]}.json"
    now, signs = time.time(), _signs(files)
    if signs is not None and (digest := _recall(seen, signs)) and (dataset := _read(_arrays_file(folder, digest))):
        return dataset
    dataset = parse()
    try:
        _write(_arrays_file(folder, dataset.digest), dataset)
        # A file changed again within one tick of the file system's clock would keep its signs: remember only
        # files that were at rest.
        if signs is not None and all(sign[2] < (now - _SETTLED_SECONDS) * 1e9 for sign in signs):
            write_json(seen, {"version": _VERSION, "files": signs, "digest": dataset.digest})
    except InputError as error:
        info(f"The parsed data is not kept for the next time: {error.__cause__ or error}")
    return dataset


def _folder(place: Path) -> Path:
    """`.harexport-cache` beside the data where one may write there, else in the user's cache folder."""
    parent = place.resolve().parent
    # The mode is asked as well: to an administrator every folder seems writable, also one meant to stay as it is.
    if parent.stat().st_mode & 0o222 and os.access(parent, os.W_OK):
        return parent / ".harexport-cache"
    return cache_folder() / "parsed"


def _arrays_file(folder: Path, digest: str) -> Path:
    return folder / f"windows-v{_VERSION}-{digest}.npz"


def _signs(files: list[Path]) -> list[list[Any]] | None:
    """By what a file is known again without reading it; None where one is missing.

    Safe because whoever writes to a file changes its modification time, and who then sets that back
    changes its change time, which nobody can set (on Windows: creation time, so there it guards less).
    """
    try:
        stats = [(file.name, file.stat()) for file in files]
    except OSError:
        return None
    return [[name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in stats]


def _recall(seen: Path, signs: list[list[Any]]) -> str | None:
    """The digest of the content that had these signs, if it is known."""
    try:
        value = json.loads(seen.read_text(encoding="utf-8"))
        if value["version"] == _VERSION and value["files"] == signs:
            return str(value["digest"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        info(f"The cache file {seen} is damaged ({type(error).__name__}): reading the data again")
    return None


def _read(file: Path) -> Dataset | None:
    """The data set in a cache file; None, with a line that says so, where the file is damaged."""
    try:
        with np.load(file, allow_pickle=False) as stored:  # a zip: each array's checksum is verified on reading
            about = json.loads(str(stored["about"]))
            contract = Contract.from_dict(about["contract"], "its contract")
            train, test = (
                Windows(
                    stored[f"{split}_signals"], stored[f"{split}_labels"], stored[f"{split}_subjects"], contract.hop
                )
                for split in SPLITS
            )
            held_out = None if about["held_out"] is None else tuple(about["held_out"])
            dataset = Dataset(
                train,
                test,
                str(about["source"]),
                str(about["digest"]),
                contract,
                tuple(about["subject_names"]),
                held_out,
                tuple(about["notes"]),
            )
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged zip of arrays may raise nearly anything; the data itself is still there
        info(f"The cache file {file} is damaged ({error}): reading the data again")
        return None
    for part in (dataset.train, dataset.test):
        n = part.labels.size
        expected = {"signals": (n, contract.window, len(contract.channels)), "labels": (n,), "subjects": (n,)}
        for array, dtype in zip(_ARRAYS, (np.float32, np.int64, np.int64), strict=True):
            found = getattr(part, array)
            if found.shape != expected[array] or found.dtype != dtype:
                info(f"The cache file {file} is damaged ({array}: {found.dtype} {found.shape}): reading the data again")
                return None
    return dataset


def _write(file: Path, dataset: Dataset) -> None:
    arrays: dict[str, Any] = {
        f"{split}_{array}": getattr(getattr(dataset, split), array) for split in SPLITS for array in _ARRAYS
    }
    about = {
        "source": dataset.source,
        "digest": dataset.digest,
        "contract": dataset.contract.to_dict(),
        "subject_names": dataset.subject_names,
        "held_out": dataset.held_out,
        "notes": dataset.notes,
    }
    # Under its final name only when whole: two processes that write at once both write the same content.
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, about=np.array(json.dumps(about)), **arrays)
    if not (ignore := file.parent / ".gitignore").exists():
        write_text(ignore, "# parsed data of harexport: may be deleted at any time, never committed\n*\n")
