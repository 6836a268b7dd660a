"""Atomic file writes, JSON files, and distinct names for files."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harexport.errors import InputError

DEFAULT_OUTPUT_DIR = Path("harexport-out")


@contextlib.contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Write a file under a temporary name and rename it to `path` on success.

    An existing file at `path` is unchanged until the new one is complete: the rename is atomic on POSIX and Windows
    within one folder. On an error the temporary file is removed.

    Yields:
        The temporary path to write to, in the folder of `path`.

    Raises:
        InputError: The folder cannot be written to.
    """
    target = Path(path)
    temporary = _temp_sibling(target)
    try:
        yield temporary
        # mkstemp creates files that only the owner can read; the result gets the usual permissions
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"could not write {target}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _temp_sibling(target: Path) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise InputError(
            f"cannot write to {target.parent}: {error.strerror or error}. Choose another folder with --out"
        ) from error
    os.close(handle)
    return Path(name)


def check_writable(folder: Path) -> None:
    """Create `folder` and raise InputError if no file can be created in it. Call this before long computations."""
    _temp_sibling(folder / "probe").unlink()


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically. Keys keep their order; NaN raises ValueError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str, what: str) -> Any:
    """Read a JSON file.

    Args:
        path: File to read.
        what: Kind of the file, for the error message.

    Raises:
        InputError: The file is missing, unreadable or not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{what} not found: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {what} {path}: {error}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{what} {path} is not JSON (line {error.lineno}: {error.msg})") from error


def unique_names(files: Sequence[Path]) -> list[str]:
    """Return a distinct name for each file: its file name, preceded by as many parent folders as necessary."""
    resolved = [path.resolve() for path in files]
    depths = [1] * len(files)

    def current_names() -> list[str]:
        return ["/".join(path.parts[-depth:]) for path, depth in zip(resolved, depths, strict=True)]

    while duplicates := [name for name, count in Counter(current_names()).items() if count > 1]:
        for k, name in enumerate(current_names()):
            depths[k] += name in duplicates
    return current_names()
