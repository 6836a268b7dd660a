"""The Kotlin example in android_demo/README.md is the source that checks/foreign compiles."""

from __future__ import annotations

import re
from pathlib import Path

from harexport.exporters.android_library import read_example

_DEMO = Path(__file__).resolve().parents[2] / "android_demo"


def test_the_readme_contains_the_compiled_example() -> None:
    (block,) = re.findall(r"```kotlin\n(.*?)```", (_DEMO / "README.md").read_text("utf-8"), re.DOTALL)
    assert block == read_example(_DEMO)
    assert len(block.splitlines()) <= 10
    assert "<sourceDir>${project.build.directory}/example</sourceDir>" in (
        _DEMO / "checks" / "foreign" / "pom.xml"
    ).read_text("utf-8")
