"""pyproject.toml and constraints.txt: every version that the README installs supports every Python that it names."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PINNED = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE))


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_pinned() -> None:
    pinned = {_normalized(name) for name in PINNED}
    requirements = [
        *PROJECT["dependencies"],
        *(each for extra in PROJECT["optional-dependencies"].values() for each in extra),
    ]
    for requirement in requirements:
        assert _normalized(re.split(r"[<>=!~\[ ]", requirement)[0]) in pinned, requirement


def test_pinned_versions_support_the_oldest_python() -> None:
    """Debian 12 has Python 3.11.2: a pin that needs 3.11.5 makes the set-up fail there."""
    assert PROJECT["requires-python"] == ">=3.11"
    for distribution in metadata.distributions():
        required = distribution.metadata.get("Requires-Python")
        if required and PINNED.get(distribution.name) == distribution.version:
            assert "3.11.0" in SpecifierSet(required), f"{distribution.name}=={distribution.version} needs {required}"
