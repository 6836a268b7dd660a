"""Writing files so that a reader never sees half of one."""

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

OUT = Path("harexport-out")  # where everything is written unless told otherwise


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the name `path`, on any error it disappears.

    What was at `path` before stays untouched until the new file is whole (the rename is atomic on
    POSIX and Windows within one directory). Raises InputError where the folder cannot be written.
    """
    target = Path(path)
    temporary = _beside(target)
    try:
        yield temporary
        # mkstemp makes private files; what we publish is as readable as any file the user makes.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"could not write {target}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
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
    """Make `folder` and raise InputError if nothing can be written there: to be asked before long work."""
    _beside(folder / "probe").unlink()


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically; keys keep their order, NaN is refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str, what: str) -> Any:
    """Read a JSON file; `what` names its kind in the error. Raises InputError."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{what} not found: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {what} {path}: {error}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{what} {path} is not JSON (line {error.lineno}: {error.msg})") from error


def names(files: Sequence[Path]) -> list[str]:
    """A name for each file: its own, with as many of its folders as tell it from others of that name."""
    resolved = [path.resolve() for path in files]
    depth = [1] * len(files)

    def named() -> list[str]:
        return ["/".join(path.parts[-d:]) for path, d in zip(resolved, depth, strict=True)]

    while twice := [name for name, count in Counter(named()).items() if count > 1]:
        for k, name in enumerate(named()):
            depth[k] += name in twice
    return named()
