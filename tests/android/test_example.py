"""The README's Kotlin is the source that checks/apk compiles."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_SOURCE = _ROOT / "android_demo" / "example" / "src" / "main" / "kotlin" / "org" / "harexport" / "example"


def test_the_readme_shows_what_is_compiled() -> None:
    source = (_SOURCE / "ActivityRecognition.kt").read_text("utf-8")
    _, shown = source.split("// README: from here on\n")
    (block,) = re.findall(r"```kotlin\n(.*?)```", (_ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert block == shown
    assert len([line for line in shown.splitlines() if line.strip()]) <= 45
    pom = (_ROOT / "android_demo" / "checks" / "apk" / "pom.xml").read_text("utf-8")
    assert "<sourceDirectory>${demo}/example/src/main/kotlin</sourceDirectory>" in pom
