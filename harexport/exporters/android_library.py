"""Writes a model with the Kotlin code that runs it as an Android library, one Gradle module."""

from __future__ import annotations

from pathlib import Path

from harexport.errors import InputError
from harexport.exporters.android import make_assets, write_contents
from harexport.utils.files import check_writable

MODEL_FOLDER = Path("src/main/assets/harexport")  # ActivityRecognizer.ASSETS
_SCRIPT = "build.gradle.kts"
_NAMESPACE = 'namespace = "org.harexport.recognition"'
_CODE = Path("src/main/kotlin")
_HERE = Path(__file__).resolve().parent
# An installed package contains the sources; in the repository they are those of the demo.
_SOURCES = (_HERE / "android_sources", _HERE.parents[1] / "android_demo")

_README = """\
# recognition: an Android library with the model {model}

Written by `harexport export --android-library`. To use it, copy this folder into your Gradle project as `recognition`:

1. `settings.gradle.kts`: `include(":recognition")`
2. `build.gradle.kts` of your app: `implementation(project(":recognition"))`

```kotlin
{example}```

A prediction with a `qualityFlag` may be wrong: MOUNT until the person has walked a few steps, SETTLING in the first
seconds, SPARSE for a slow sensor. `updates` is the same as a Flow. Call `close()` in the end.

`ActivityRecognizer` loads the model on a thread of its own, and compares it with the golden test vectors of Python
before it predicts anything. Sensors up to 200 Hz need no permission. Recognition in the background needs a foreground
service of your app; set `batchSeconds` to 1.5 there. The next export to this folder replaces its files.
"""


def check_folder(folder: Path) -> None:
    """Check that a library can be written to a folder, before the export.

    Args:
        folder: Folder of the module.

    Raises:
        InputError: It is no folder, cannot be written, or contains files that are not a library of harexport.
    """
    script = folder / _SCRIPT
    is_library = script.is_file() and _NAMESPACE in script.read_text("utf-8", errors="replace")
    if folder.is_dir() and any(folder.iterdir()) and not is_library:
        raise InputError(f"{folder} is not empty and no library of harexport; give a new folder")
    check_writable(folder)
    _find_sources()


def write_library(model: Path, folder: Path) -> list[Path]:
    """Write an Android library with a model, its contract, its labels and its golden test vectors.

    Files of an earlier library in the folder are replaced or removed.

    Args:
        model: A .tflite file of `harexport export`.
        folder: Folder of the module.

    Returns:
        The paths of the written files.

    Raises:
        InputError: The file is not an export of this tool, or the library cannot be written. Nothing was changed.
    """
    check_folder(folder)
    sources = _find_sources()
    contents = {folder / MODEL_FOLDER / name: content for name, content in make_assets(model).items()}
    for module in ("core", "recognition"):
        code = sources / module / _CODE
        contents |= {folder / _CODE / path.relative_to(code): path.read_bytes() for path in sorted(code.rglob("*.kt"))}
    contents[folder / _SCRIPT] = (sources / "recognition" / "library.gradle.kts").read_bytes()
    contents[folder / "consumer-rules.pro"] = (sources / "recognition" / "consumer-rules.pro").read_bytes()
    example = read_example(sources)
    contents[folder / "README.md"] = _README.format(model=model.name, example=example).encode()
    written = write_contents(contents)
    for path in (folder / _CODE / "org" / "harexport").rglob("*.kt"):
        if path not in contents:
            path.unlink()
    return written


def read_example(sources: Path) -> str:
    """Return the example of the README: the indented body of the function in Example.kt."""
    text = (sources / "example" / _CODE / "org" / "harexport" / "example" / "Example.kt").read_text("utf-8")
    body = text.split("// README: from here on\n")[1].split("// README: to here\n")[0].rstrip(" ")
    return "".join(line.removeprefix("    ") for line in body.splitlines(keepends=True))


def _find_sources() -> Path:
    for sources in _SOURCES:
        if (sources / "recognition" / "library.gradle.kts").is_file():
            return sources
    raise InputError("the Kotlin sources are missing in this installation of harexport; install it again")
