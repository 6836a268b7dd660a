"""The Gradle project and the Maven project of the checks build the same app."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

from harexport.targets import android

_DEMO = Path(__file__).resolve().parents[2] / "android_demo"
_POM = "{http://maven.apache.org/POM/4.0.0}"
_CATALOG = tomllib.loads((_DEMO / "gradle" / "libs.versions.toml").read_text("utf-8"))
_APP = (_DEMO / "app" / "build.gradle.kts").read_text("utf-8")
_CORE = (_DEMO / "core" / "build.gradle.kts").read_text("utf-8")
_RECOGNITION = (_DEMO / "recognition" / "build.gradle.kts").read_text("utf-8")
_LIBRARY = (_DEMO / "recognition" / "library.gradle.kts").read_text("utf-8")
_USE = re.compile(
    r"^ *(\w+)\((?:libs\.(?!plugins)([\w.]+)|project\(\":(\w+)\"\)|\"[\w.]+:([\w-]+):[\w.]+\")\)", re.MULTILINE
)


def _pom(*module: str) -> ElementTree.Element:
    return ElementTree.parse(_DEMO.joinpath("checks", *module, "pom.xml")).getroot()


def _properties(*module: str) -> dict[str, str]:
    found = _pom(*module).find(f"{_POM}properties")
    return {} if found is None else {entry.tag.removeprefix(_POM): entry.text or "" for entry in found}


def _dependencies(*module: str) -> dict[str, str]:
    """Return the scope of each artifact, which the parent may set."""
    path = f"{_POM}dependencies/{_POM}dependency"
    managed = {
        entry.findtext(f"{_POM}artifactId", ""): entry.findtext(f"{_POM}scope", "compile")
        for entry in _pom().findall(f"{_POM}dependencyManagement/{path}")
    }
    found = {}
    for entry in _pom(*module).findall(path):
        artifact = entry.findtext(f"{_POM}artifactId", "")
        found[artifact] = entry.findtext(f"{_POM}scope", managed.get(artifact, "compile"))
    return found


def _read_setting(script: str, name: str) -> str:
    """Return the value that a build script assigns to `name` exactly once."""
    (value,) = re.findall(rf"^ *{name} = (.*?)(?: //.*)?$", script, re.MULTILINE)
    return str(value).strip('"')


def _read_dependencies(script: str) -> dict[str, list[str]]:
    """Return the dependencies by configuration: artifacts of the catalog, and projects by name."""
    uses: dict[str, list[str]] = {}
    for configuration, alias, project, literal in _USE.findall(script):
        artifact = _CATALOG["libraries"][alias.replace(".", "-")]["module"].split(":")[1] if alias else ""
        uses.setdefault(configuration, []).append(artifact or project or literal)
    return uses


def test_the_app_is_the_same_in_both_builds() -> None:
    maven = _properties()
    assert (
        _read_setting(_APP, "applicationId")
        == _read_setting(_APP, "namespace")
        == maven["demo.package"]
        == android.PACKAGE
    )
    for name in ("minSdk", "targetSdk", "versionCode", "versionName"):
        assert _read_setting(_APP, name) == maven[f"demo.{name}"], name
    assert int(_read_setting(_APP, "compileSdk")) >= int(_read_setting(_APP, "targetSdk"))
    assert int(_read_setting(_APP, "minSdk")) == 26
    for module in ("app", "apk"):
        text = (_DEMO / "checks" / module / "pom.xml").read_text("utf-8")
        for name in ("minSdk", "targetSdk", "versionCode", "versionName"):
            assert f"${{demo.{name}}}" in text, f"checks/{module} defines its own {name}"


def test_both_compile_the_same_folders() -> None:
    """Gradle uses its default folders."""
    for script in (_APP, _CORE, _RECOGNITION):
        assert "srcDir" not in script
    assert "sourceSets" not in _CORE + _RECOGNITION
    assert "sourceSets" not in _APP
    folders = {
        "core": ("${demo}/core/src/main/kotlin", "${demo}/core/src/test/kotlin"),
        "recognition": ("${demo}/recognition/src/main/kotlin", "${demo}/recognition/src/test/kotlin"),
        "app": ("${demo}/app/src/main", "${demo}/app/src/test/kotlin"),
    }
    for module, expected in folders.items():
        pom = (_DEMO / "checks" / module / "pom.xml").read_text("utf-8")
        for folder in expected:
            assert folder in pom
            assert any((_DEMO / folder.removeprefix("${demo}/")).rglob("*.kt")), folder
    sources = {path.relative_to(_DEMO).parts[:4] for path in _DEMO.rglob("*.kt") if "target" not in path.parts}
    ours = {parts for parts in sources if parts[0] not in ("checks", "example")}
    assert ours == {(module, "src", kind, "kotlin") for module in folders for kind in ("main", "test")}
    settings = (_DEMO / "settings.gradle.kts").read_text("utf-8")
    assert re.findall(r'":(\w+)"', settings) == ["core", "recognition", "app"]


def test_both_use_the_same_versions() -> None:
    root = _properties()
    versions = _CATALOG["versions"]
    assert versions["kotlin"] == root["kotlin.version"]
    assert re.findall(r"junit:junit:([\w.]+)", _CORE) == [root["junit.version"]]
    assert set(re.findall(r"org\.json:json:([\w.]+)", _CORE)) == {root["json.version"]}


def test_the_library_uses_the_same_versions_everywhere() -> None:
    root = _properties()
    for script in (_RECOGNITION, _LIBRARY):
        assert re.findall(r"kotlinx-coroutines-android:([\w.]+)", script) == [root["coroutines.version"]]
        assert re.findall(r"com.google.ai.edge.litert:litert:([\w.]+)", script) == ["1.4.1"]
        assert "Not 2.x: litert 2.0 has no org.tensorflow.lite.Interpreter" in script, "the reason of the pin"
        assert _read_setting(script, "compileSdk") == _read_setting(_APP, "compileSdk")
        assert _read_setting(script, "minSdk") == _read_setting(_APP, "minSdk")
        assert 'consumerProguardFiles("consumer-rules.pro")' in script
        assert "libs." not in script
    assert re.findall(r"robolectric:robolectric:([\w.]+)", _RECOGNITION) == [root["robolectric.version"]]
    assert "explicitApi()" in _RECOGNITION
    assert "-Xexplicit-api=strict" in (_DEMO / "checks" / "recognition" / "pom.xml").read_text("utf-8")


def test_core_can_be_copied_into_another_gradle_project() -> None:
    assert "libs." not in _CORE, "core must not depend on the version catalog of this project"
    assert 'kotlin("jvm")' in _CORE
    for path in (_DEMO / "core" / "src" / "main").rglob("*.kt"):
        imports = re.findall(r"^import (\S+)", path.read_text("utf-8"), re.MULTILINE)
        assert all(name.startswith(("java.", "kotlin.", "org.json.")) for name in imports), path


def test_both_use_the_same_libraries() -> None:
    """Except for the runtime: LiteRT for phones is not on Maven Central."""
    assert _read_dependencies(_CORE) == {"compileOnly": ["json"], "testImplementation": ["json", "junit"]}
    assert _dependencies("core") == {"json": "provided", "junit": "test", "kotlin-stdlib": "compile"}
    gradle, maven = _read_dependencies(_APP), _dependencies("app")
    assert gradle["implementation"][:2] == ["core", "recognition"]
    assert {"core", "recognition", "tflite", "kotlin-stdlib"} <= {
        name for name, scope in maven.items() if scope == "compile"
    }
    assert {name for name, scope in maven.items() if scope == "test"} == {"junit", "robolectric"}
    assert _read_dependencies(_RECOGNITION)["api"] == ["core", "kotlinx-coroutines-android"]


def test_the_library_needs_no_androidx() -> None:
    for module in ("core", "recognition"):
        for path in (_DEMO / module / "src" / "main").rglob("*.kt"):
            assert "androidx" not in path.read_text("utf-8"), path


def test_compose_has_the_same_versions() -> None:
    maven = {
        entry.findtext(f"{_POM}artifactId", "").removesuffix("-android"): entry.findtext(f"{_POM}version")
        for entry in _pom("androidx").iter(f"{_POM}dependency")
    }
    for name, library in _CATALOG["libraries"].items():
        artifact = library["module"].split(":")[1]
        assert maven[artifact] == _CATALOG["versions"][library["version"]["ref"]], name


def test_the_model_stays_uncompressed_and_the_wrapper_is_pinned() -> None:
    assert 'noCompress += "tflite"' in _APP
    assert "-0 .tflite" in (_DEMO / "checks" / "apk" / "pom.xml").read_text("utf-8")
    wrapper = (_DEMO / "gradle" / "wrapper" / "gradle-wrapper.properties").read_text("utf-8")
    major, minor = re.findall(r"gradle-(\d+)\.(\d+)[\d.]*-bin\.zip", wrapper)[0]
    assert (int(major), int(minor)) >= (9, 1), "the minimum for Android Gradle plugin 9.0"
    assert _CATALOG["versions"]["agp"].startswith("9.0."), "the least one with Kotlin"
    assert re.search(r"^distributionSha256Sum=[0-9a-f]{64}$", wrapper, re.MULTILINE)
