"""Fixtures: a cache folder, and a fake emulator that runs the guest's script on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import metadata as installed
from pathlib import Path

import pytest

from harexport.targets.arm64 import emulator as arm64
from harexport.targets.arm64.setup import WHEELS
from tests.bench.conftest import checkpoint, made_up, ours

__all__ = ["checkpoint", "made_up", "ours"]

# Takes the emulator's command line; runs the script behind -s on this machine's Python, as the emulator would on Arm.
_NATIVE = """#!{python}
import os, sys
rest = sys.argv[sys.argv.index("-s") + 1 :]
os.execv({python!r}, [{python!r}, "-s", *rest])
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the target, which does not exist yet."""
    monkeypatch.setenv("HAREXPORT_CACHE", str(tmp_path / "cache"))
    return arm64.folder()


@pytest.fixture
def set_up(place: Path) -> Callable[[str], arm64.Target]:
    """Return a function that creates a target whose emulator is a script."""

    def make(emulator: str = _NATIVE.format(python=sys.executable)) -> arm64.Target:
        place.mkdir(parents=True, exist_ok=True)
        (place / arm64.EMULATOR).write_text(emulator)
        (place / arm64.EMULATOR).chmod(0o755)
        (place / arm64.FACTS).write_text(json.dumps(facts()))
        return arm64.load()

    return make


def facts() -> dict[str, object]:
    """As a set-up of today would write them."""
    versions = {"qemu": "10.0", "python": "3.13.5", **{name: installed.version(name) for name in WHEELS}}
    return {
        "schema": "harexport-target-1",
        "versions": versions,
        "python": "python3.13",
        "download_mb": 141,
        "disk_mb": 217,
        "seconds": 30,
    }
