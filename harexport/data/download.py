"""One download, made to survive bad lines and bad servers."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harexport.console import say, track
from harexport.errors import InputError

if TYPE_CHECKING:
    import requests

_CHUNK = 1 << 14  # bytes; small, because a broken line loses the chunk under way
_LIMIT = 500_000_000  # bytes; far above every file we fetch, so that an endless answer ends


class _RetryError(Exception):
    """This attempt failed in a way that another may not."""


def download(
    url: str,
    target: Path,
    sha256: str | None = None,
    *,
    connect_timeout: float = 10.0,
    read_timeout: float = 30.0,
    attempts: int = 4,
    backoff: float = 1.0,
) -> None:
    """Fetch `url` to `target`, which gets its name only when the file is whole and its SHA-256 is right.

    What came before a break stays in `target`.part, and the next attempt, or the next call, goes on from
    there where the server allows it. Between attempts it waits `backoff` seconds, then twice as long, and so
    on; time-outs are in seconds. Raises InputError.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, attempts + 1):
            try:
                _attempt(url, part, (connect_timeout, read_timeout))
                break
            except _RetryError as error:
                if attempt == attempts:
                    raise InputError(
                        f"could not download {url}: {error} ({attempts} attempts). "
                        "Check the connection and run the command again: it goes on where it stopped"
                    ) from error
                wait = backoff * 2 ** (attempt - 1)
                say(f"{error}; trying again in {wait:g} s")
                time.sleep(wait)
        if sha256 and (found := sha256_of(part)) != sha256:
            part.unlink()
            raise InputError(
                f"{url} is not the expected file: its SHA-256 is {found}, expected {sha256}. "
                "What was downloaded is deleted; run the command again"
            )
        part.replace(target)
    except OSError as error:
        raise InputError(
            f"cannot write {part}: {error.strerror or error}. Make room, or set HAREXPORT_CACHE to another folder"
        ) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _attempt(url: str, part: Path, timeouts: tuple[float, float]) -> None:
    """Add to `part` what it lacks. Raises _RetryError, or InputError where another attempt is pointless."""
    import requests
    from urllib3.exceptions import NewConnectionError  # requests stands on urllib3

    have = part.stat().st_size if part.exists() else 0
    # Compressed on the way, neither the length nor the range would count the file's own bytes.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeouts) as answer:
            if answer.status_code == 416:  # nothing lies beyond what we have: either all is here or it is another file
                if answer.headers.get("Content-Range") == f"bytes */{have}":
                    return
                part.unlink()
                raise _RetryError("the file on the server is shorter than what was here")
            if answer.status_code >= 500 or answer.status_code in (408, 429):
                raise _RetryError(f"the server answered {answer.status_code} {answer.reason}")
            if answer.status_code not in (200, 206):
                raise InputError(f"could not download {url}: the server answered {answer.status_code} {answer.reason}")
            goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if answer.status_code == 206 and not goes_on:
                part.unlink(missing_ok=True)
                raise _RetryError("the server sent another range than asked for")
            _receive(answer, part, have if goes_on else 0)
    except requests.ConnectTimeout:
        raise InputError(f"could not download {url}: no connection within {timeouts[0]:g} s") from None
    except requests.ConnectionError as error:
        if error.args and isinstance(getattr(error.args[0], "reason", None), NewConnectionError):
            raise InputError(f"could not download {url}: no connection ({_cause(error)})") from error
        raise _RetryError(f"the connection failed or broke off ({_cause(error)})") from error
    except requests.Timeout:
        raise _RetryError(f"the server sent nothing for {timeouts[1]:g} s") from None
    except requests.exceptions.ChunkedEncodingError:
        raise _RetryError("the connection broke off, or the server announced more than it sent") from None
    except requests.RequestException as error:
        raise InputError(f"could not download {url}: {error}") from error


def _receive(answer: requests.Response, part: Path, done: int) -> None:
    """Write the answer's body behind the first `done` bytes of `part`."""
    import requests

    announced = answer.headers.get("Content-Length", "")
    total = done + int(announced) if announced.isdigit() else None
    name = part.name.removesuffix(".part")
    with part.open("ab" if done else "wb") as file, track(f"Downloading {name}", total, bytes_=True) as advance:
        try:
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                advance(done)
                if done > _LIMIT:
                    raise InputError(f"{name} is refused: the server sends more than {_LIMIT:,} bytes")
        except requests.ConnectionError as error:  # within a body, a read time-out comes as one too
            raise _RetryError(f"the server went silent or broke off ({_cause(error)})") from error


def _cause(error: BaseException) -> str:
    """What went wrong, in words: the text of a ConnectionError is a nest of objects and memory addresses."""
    inner = getattr(error, "reason", None) or next((arg for arg in error.args if isinstance(arg, Exception)), None)
    if isinstance(inner, Exception):
        return _cause(inner)
    return getattr(error, "strerror", None) or str(error).rpartition(": ")[2] or type(error).__name__
