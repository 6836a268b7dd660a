"""The Kotlin example in android_demo/README.md is the source that checks/apk compiles."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_SOURCE = _ROOT / "android_demo" / "example" / "src" / "main" / "kotlin" / "org" / "harexport" / "example"


def test_the_readme_contains_the_compiled_example() -> None:
    source = (_SOURCE / "ActivityRecognition.kt").read_text("utf-8")
    _, example = source.split("// README: from here on\n")
    (block,) = re.findall(r"```kotlin\n(.*?)```", (_ROOT / "android_demo" / "README.md").read_text("utf-8"), re.DOTALL)
    assert block == example
    assert len([line for line in example.splitlines() if line.strip()]) <= 45
    pom = (_ROOT / "android_demo" / "checks" / "apk" / "pom.xml").read_text("utf-8")
    assert "<sourceDirectory>${demo}/example/src/main/kotlin</sourceDirectory>" in pom
