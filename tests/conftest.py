"""Fixtures for all tests, and the marker `requires` with its summary (see `tests/helpers/requirements.py`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from harexport.data import Dataset, load_dataset
from harexport.utils.console import print_messages
from tests.helpers.requirements import (  # pytest calls the hooks by name
    official_files,
    pytest_configure,
    pytest_runtest_setup,
    pytest_terminal_summary,
    require,
)

__all__ = ["pytest_configure", "pytest_runtest_setup", "pytest_terminal_summary"]


@pytest.fixture(scope="session")
def official_path() -> Path:
    """The official UCI HAR files: their folder or zip, or the folder that contains it."""
    require("official-files")
    path = official_files()
    assert path is not None
    return path


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """The UCI HAR windows: the official ones, else those rebuilt from the raw recordings."""
    return load_dataset(official_files())


@pytest.fixture(autouse=True)
def messages_on_stderr() -> None:
    """Print messages on standard error, as the command line does, so that tests can read them there."""
    print_messages()
