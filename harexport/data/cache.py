"""Cache of parsed datasets, in `.harexport-cache` beside the data.

`windows-<digest>.npz` holds the arrays and is named after the content they were read from. `seen-<place>.json` holds
the digest of the content at a path, and the file statistics that identify it without reading it. Both can be deleted
at any time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harexport.data.dataset import Coverage, Dataset, Windows
from harexport.data.uci_har.download import cache_folder
from harexport.data.uci_har.manifest import SPLITS
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.utils.console import info
from harexport.utils.files import atomic_write, parse_json, read_json, write_json, write_text

_VERSION = 3  # increase it when parsing or rebuilding gives other arrays for the same files
_SETTLED_SECONDS = 2.0  # resolution of the coarsest file system clock in use (FAT)
_ARRAYS = ("signals", "labels", "subjects")


def load_cached(place: Path, files: list[Path], parse: Callable[[], Dataset]) -> Dataset:
    """Load a dataset from the cache if its files are unchanged, else parse it and write the cache.

    Args:
        place: Folder or file that the dataset was read from.
        files: Files whose change means that the data changed.
        parse: Reads the dataset.
    """
    folder = _folder(place)
    seen = folder / f"seen-{hashlib.sha256(str(place.resolve()).encode()).hexdigest()[:16]}.json"
    now, stats = time.time(), _file_stats(files)
    if stats is not None and (digest := _lookup(seen, stats)) and (dataset := _read(_arrays_file(folder, digest))):
        return dataset
    dataset = parse()
    try:
        _write(_arrays_file(folder, dataset.digest), dataset)
        # A second change within one tick of the file system's clock would keep the statistics.
        if stats is not None and all(stat[2] < (now - _SETTLED_SECONDS) * 1e9 for stat in stats):
            write_json(seen, {"version": _VERSION, "files": stats, "digest": dataset.digest})
    except InputError as error:
        info(f"The parsed data is not cached: {error.__cause__ or error}")
    return dataset


def _folder(place: Path) -> Path:
    """Return `.harexport-cache` beside the data if that folder is writable, else one in the user's cache folder."""
    parent = place.resolve().parent
    # The mode is checked as well: for an administrator os.access() reports every folder as writable.
    if parent.stat().st_mode & 0o222 and os.access(parent, os.W_OK):
        return parent / ".harexport-cache"
    return cache_folder() / "parsed"


def _arrays_file(folder: Path, digest: str) -> Path:
    return folder / f"windows-v{_VERSION}-{digest}.npz"


def _file_stats(files: list[Path]) -> list[list[Any]] | None:
    """Return name, size, modification and change time of each file; None if a file is missing.

    A write changes the modification time; setting that back changes the change time, which cannot be set (on Windows
    it is the creation time, which is a weaker check).
    """
    try:
        stats = [(file.name, file.stat()) for file in files]
    except OSError:
        return None
    return [[name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in stats]


def _lookup(seen: Path, stats: list[list[Any]]) -> str | None:
    """Return the digest of the content that had these statistics, if it is known."""
    try:
        if not seen.exists():
            return None
        value = read_json(seen, "cache file")
        if value["version"] == _VERSION and value["files"] == stats:
            return str(value["digest"])
    except (InputError, OSError, KeyError, TypeError) as error:
        info(f"The cache file {seen} is damaged ({type(error).__name__}): the data is parsed again")
    return None


def _read(file: Path) -> Dataset | None:
    """Read a cache file; None if it is missing or damaged."""
    try:
        with np.load(file, allow_pickle=False) as stored:  # the zip's checksums are verified
            about = parse_json(str(stored["about"]), "its description")
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
                tuple(Coverage(*row) for row in about["coverage"]),
            )
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged zip may raise almost any exception
        info(f"The cache file {file} is damaged ({error}): the data is parsed again")
        return None
    for part in (dataset.train, dataset.test):
        n = part.labels.size
        expected = {"signals": (n, contract.window, len(contract.channels)), "labels": (n,), "subjects": (n,)}
        for array, dtype in zip(_ARRAYS, (np.float32, np.int64, np.int64), strict=True):
            found = getattr(part, array)
            if found.shape != expected[array] or found.dtype != dtype:
                info(
                    f"The cache file {file} is damaged ({array}: {found.dtype} {found.shape}): the data is parsed again"
                )
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
        "coverage": [dataclasses.astuple(row) for row in dataset.coverage],
    }
    # Two processes that write at the same time write the same content.
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, about=np.array(json.dumps(about)), **arrays)
    if not (ignore := file.parent / ".gitignore").exists():
        write_text(ignore, "# Cache of parsed data (harexport). It can be deleted at any time.\n*\n")
