"""Output files, JSON files, and distinct names for files.

Every output of harexport is written through `atomic_write`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from harexport.errors import InputError

DEFAULT_OUTPUT_DIR = Path("harexport-out")
_MAX_JSON_BYTES = 256 * 1024 * 1024
_MAX_INTEGER_DIGITS = 19  # of a 64-bit integer
_protected: set[tuple[int, int]] = set()  # (device, inode) of the inputs of the running command


@contextlib.contextmanager
def protect_inputs(paths: Iterable[Path]) -> Iterator[None]:
    """Refuse to overwrite these files as long as the context is entered."""
    before = set(_protected)
    add_inputs(paths)
    try:
        yield
    finally:
        _protected.clear()
        _protected.update(before)


def add_inputs(paths: Iterable[Path]) -> None:
    """Refuse to overwrite these files too, until the context of `protect_inputs` is left."""
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            if stat.S_ISREG((status := path.stat()).st_mode):
                _protected.add((status.st_dev, status.st_ino))


def check_output(path: Path) -> None:
    """Raise InputError if `path` cannot be written or is an input of the command. Call this before long computations.

    Devices and pipes are valid outputs. Symbolic links are followed.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise InputError(f"cannot write {path}: {folder} is not a folder") from None
        if not os.access(folder, os.W_OK):
            raise InputError(f"cannot write {path}: no permission to write to {folder}") from None
        return
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"cannot write {path}: it is a folder")
    if (status.st_dev, status.st_ino) in _protected:
        raise InputError(f"{path} is an input of this command; choose another output")


@contextlib.contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Write a file under a temporary name and rename it to `path` on success.

    An existing file at `path` is unchanged until the new one is complete: the rename is atomic on POSIX and Windows
    within one folder. On an error the temporary file is removed. A symbolic link is followed and kept. A device or a
    pipe is not replaced: the finished content is copied into it.

    Yields:
        The temporary path to write to.

    Raises:
        InputError: The path cannot be written to, or is an input of the command.
    """
    import tempfile  # here, since `harexport --help` does without

    target = Path(path)
    check_output(target)
    is_stream = _is_stream(target)
    if not is_stream:
        target = Path(os.path.realpath(target))
    temporary = _temp_sibling(target, Path(tempfile.gettempdir()) if is_stream else target.parent)
    try:
        yield temporary
        if is_stream:
            with target.open("wb") as stream:
                stream.write(temporary.read_bytes())
            return
        # mkstemp creates files that only the owner can read; the result gets the usual permissions
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"could not write {target}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _is_stream(path: Path) -> bool:
    """Return whether a path is a device, a pipe, a socket, or an open file such as /dev/stdout."""
    if str(path.absolute()).startswith(("/dev/fd/", "/dev/stdout", "/dev/stderr", "/proc/")):
        return True
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False  # it does not exist yet


def _temp_sibling(target: Path, folder: Path) -> Path:
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        # a part of the name, so that the temporary name is no longer than the final one may be
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=target.suffix[:20], dir=folder)
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror or error}. Choose another folder with --out"
        ) from error
    os.close(handle)
    return Path(name)


def check_writable(folder: Path) -> None:
    """Create `folder` and raise InputError if no file can be created in it. Call this before long computations."""
    _temp_sibling(folder / "probe", folder).unlink()


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically; lone surrogates, as in undecodable file names, are escaped."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically. Keys keep their order; NaN and infinity become null."""
    write_text(path, json.dumps(replace_nonfinite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def replace_nonfinite(value: Any) -> Any:
    """Return a JSON value with None instead of NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_nonfinite(item) for item in value]
    return value


def read_json(path: Path | str, what: str) -> Any:
    """Read a JSON file.

    Args:
        path: File to read.
        what: Kind of the file, for the error message.

    Raises:
        InputError: The file is missing, unreadable, too large or not valid JSON. NaN, infinity and integers of more
            than 64 bits are not valid.
    """
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{what} {path} is not a regular file")
        if status.st_size > _MAX_JSON_BYTES:
            raise InputError(f"{what} {path} has {status.st_size / 1e6:.0f} MB; at most 268 MB are read")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{what} not found: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {what} {path}: {error}") from error
    return parse_json(text, f"{what} {path}")


def parse_json(text: str, name: str) -> Any:
    """Parse JSON of an untrusted source.

    Args:
        text: The JSON.
        name: Name of the source, for the error message.

    Raises:
        InputError: It is not valid JSON. NaN, infinity and integers of more than 64 bits are not valid.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a JSON number")

    def parse_float(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else refuse(digits[:20])

    def parse_int(digits: str) -> int:
        return int(digits) if len(digits.lstrip("-")) <= _MAX_INTEGER_DIGITS else refuse(f"{digits[:20]}...")

    try:
        return json.loads(text, parse_constant=refuse, parse_float=parse_float, parse_int=parse_int)
    except json.JSONDecodeError as error:
        raise InputError(f"{name} is not JSON (line {error.lineno}: {error.msg})") from error
    except RecursionError:
        raise InputError(f"{name} is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{name} is not valid: {error}") from error


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
