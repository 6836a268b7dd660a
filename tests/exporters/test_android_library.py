"""Export as an Android library. android_demo/checks/foreign compiles it in a project of its own."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from harexport.errors import InputError
from harexport.exporters import android_library

_ROOT = Path(__file__).resolve().parents[2]
_MODEL = _ROOT / "artifacts" / "edge-any-mount" / "edge-any-mount-unrolled-float32.tflite"


def test_the_library_contains_everything_it_needs(tmp_path: Path) -> None:
    folder = tmp_path / "recognition"
    written = android_library.write_library(_MODEL, folder)
    assert sorted(written) == sorted(path for path in folder.rglob("*") if path.is_file())
    assets = folder / android_library.MODEL_FOLDER
    assert sorted(path.name for path in assets.iterdir()) == [
        "contract.json",
        "golden.json",
        "labels.txt",
        "model.tflite",
    ]
    assert (assets / "model.tflite").read_bytes() == _MODEL.read_bytes()
    recognizer = folder / "src/main/kotlin/org/harexport/recognition/ActivityRecognizer.kt"
    assert f'ASSETS: String = "{android_library.MODEL_FOLDER.name}"' in recognizer.read_text("utf-8")
    allowed = (
        "android.",
        "java.",
        "kotlin.",
        "kotlinx.coroutines.",
        "org.json.",
        "org.tensorflow.lite.",
        "org.harexport.",
    )
    sources = sorted((folder / "src/main/kotlin").rglob("*.kt"))
    assert {path.parent.name for path in sources} == {"core", "recognition"}
    packages = {f"org.harexport.{name}." for name in ("core", "recognition")}
    for path in sources:
        for name in re.findall(r"^import (\S+)", path.read_text("utf-8"), re.MULTILINE):
            assert name.startswith(allowed), path
            assert not name.startswith("org.harexport.") or any(name.startswith(own) for own in packages), path
    script = (folder / "build.gradle.kts").read_text("utf-8")
    assert "libs." not in script
    assert "project(" not in script


def test_the_example_of_the_readme_has_at_most_ten_lines(tmp_path: Path) -> None:
    android_library.write_library(_MODEL, tmp_path / "recognition")
    readme = (tmp_path / "recognition" / "README.md").read_text("utf-8")
    (block,) = re.findall(r"```kotlin\n(.*?)```", readme, re.DOTALL)
    assert block == android_library.read_example(_ROOT / "android_demo")
    assert len(block.splitlines()) <= 10
    assert "qualityFlag" in block, "predictions before the mounting is known are left out"


def test_a_second_export_replaces_the_first_one(tmp_path: Path) -> None:
    folder = tmp_path / "recognition"
    android_library.write_library(_MODEL, folder)
    outdated = folder / "src/main/kotlin/org/harexport/core/Outdated.kt"
    own = folder / "src/main/kotlin/my/app/Own.kt"
    own.parent.mkdir(parents=True)
    for path in (outdated, own):
        path.write_text("package x\n")
    other = _MODEL.with_name("edge-any-mount-unrolled-int8-weights.tflite")
    android_library.write_library(other, folder)
    assert (folder / android_library.MODEL_FOLDER / "model.tflite").read_bytes() == other.read_bytes()
    assert not outdated.exists()
    assert own.exists()


def test_other_folders_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and no library of harexport"):
        android_library.write_library(_MODEL, tmp_path / "work")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["thesis.txt"]
    (tmp_path / "foreign.tflite").write_bytes(b"TFL3 is missing here")
    with pytest.raises(InputError):
        android_library.write_library(tmp_path / "foreign.tflite", tmp_path / "new")
    assert not list((tmp_path / "new").rglob("*.kt"))


def test_the_wheel_contains_the_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As hatch copies them: folders of the repository to harexport/exporters/android_sources."""
    included = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    for source, target in included["force-include"].items():
        assert target.startswith("harexport/exporters/android_sources/")
        copied = tmp_path / Path(target).relative_to("harexport/exporters")
        for path in [_ROOT / source, *(_ROOT / source).rglob("*")]:
            if path.is_file():
                place = copied / path.relative_to(_ROOT / source)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes())
    monkeypatch.setattr(android_library, "_SOURCES", (tmp_path / "android_sources", tmp_path / "none"))
    from_wheel = android_library.write_library(_MODEL, tmp_path / "one")
    monkeypatch.undo()
    from_repository = android_library.write_library(_MODEL, tmp_path / "two")
    assert [path.relative_to(tmp_path / "one") for path in from_wheel] == [
        path.relative_to(tmp_path / "two") for path in from_repository
    ]
    assert [path.read_bytes() for path in from_wheel] == [path.read_bytes() for path in from_repository]
    monkeypatch.setattr(android_library, "_SOURCES", (tmp_path / "none",))
    with pytest.raises(InputError, match="Kotlin sources are missing"):
        android_library.check_folder(tmp_path / "three")
