"""The raw recordings, from the cache or really fetched."""

from __future__ import annotations

import pytest

from harexport.data.uci_har.download import fetch
from harexport.data.uci_har.raw_recordings import Recording, read_recordings
from tests.helpers.requirements import require


@pytest.fixture(scope="session")
def recordings() -> dict[int, list[Recording]]:
    require("raw-recordings")
    return read_recordings(fetch("pypi"))
