"""The data set for every test: from HAREXPORT_DATA, from shared/data beside the repository, or fetched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harexport.data import Dataset, load
from harexport.data.uci_har.download import fetch
from harexport.utils.console import print_messages

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def _given() -> Path | None:
    if setting := os.environ.get("HAREXPORT_DATA"):
        return Path(setting)
    return _BESIDE if _BESIDE.is_dir() else None


@pytest.fixture(scope="session")
def official_path() -> Path:
    """The official folder or zip, or the folder it lies in."""
    return _given() or fetch("uci")


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """The official windows (rebuilt from raw recordings where neither a path nor the UCI archive is at hand)."""
    return load(_given())


@pytest.fixture(autouse=True)
def messages_on_stderr() -> None:
    """Print messages on standard error, as the command line does, so that tests can read them there."""
    print_messages()
