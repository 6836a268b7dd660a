"""Locations of the checkpoints that files were exported from, recorded in the cache folder.

An exported file names its network by a digest, and not by a path. `harexport bench` finds the checkpoint here if it is
not beside the file.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from harexport.data.uci_har.download import cache_folder
from harexport.errors import InputError
from harexport.utils import files

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_BYTES = 4096  # of a path


def record_checkpoint(digest: str, path: Path) -> None:
    """Record where the checkpoint of a network is. A cache that cannot be written to is no error."""
    with contextlib.suppress(InputError, OSError):
        files.write_text(_record(digest), str(path.resolve()))


def find_recorded_checkpoint(digest: str) -> Path | None:
    """Return the recorded path of a checkpoint, which may contain another network by now; None if there is none."""
    if not _DIGEST.fullmatch(digest):  # from the metadata of an untrusted file
        return None
    try:
        with _record(digest).open("rb") as record:
            path = Path(record.read(_MAX_BYTES).decode("utf-8"))
        return path if path.is_file() else None
    except (OSError, ValueError):
        return None


def _record(digest: str) -> Path:
    return cache_folder() / "checkpoints" / digest
