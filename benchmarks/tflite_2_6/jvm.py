"""TensorFlow Lite 2.6.2 on this machine's JVM: downloaded by Maven, compiled, and run in a subprocess."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import signal
import subprocess
import zipfile
from pathlib import Path

from harexport.data.uci_har.download import cache_folder, file_sha256
from harexport.errors import InputError
from harexport.utils import files
from harexport.utils.console import info

SOURCE = Path(__file__).with_name("OldRuntime.java")
_MAVEN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy"
# (coordinates, file, SHA-256, member)
PARTS = (
    (
        "ai.djl.tflite:tflite-native-cpu:2.6.2:jar:linux-x86_64",
        "tflite-native-cpu-2.6.2-linux-x86_64.jar",
        "aa8ae00d9b39489d03aa76f388019da6a086eee99a22f7d7a31e4b5a09003c8e",
        "native/lib/libtensorflowlite_jni.so",
    ),
    (
        "org.tensorflow:tensorflow-lite:2.6.0:aar",
        "tensorflow-lite-2.6.0.aar",
        "f7dcd32a48dc348ee2eea2bed37044354a21e43dfdf507b6a73b40b05d5793ea",
        "classes.jar",
    ),
)
_FETCH_SECONDS, _RUN_SECONDS = 600, 900


class OldRuntime:
    """TensorFlow Lite 2.6.2 on the JVM. Raises InputError if a tool is missing."""

    def __init__(self) -> None:
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            raise InputError("the library of TensorFlow Lite 2.6.2 on Maven Central is for Linux x86_64 only")
        self._java = _tool("java")
        compiler, maven = _tool("javac"), _tool("mvn")
        folder = cache_folder() / "old-runtime"
        folder.mkdir(parents=True, exist_ok=True)
        self.parts = {coordinates: digest for coordinates, _, digest, _ in PARTS}
        taken = [_fetched(folder, maven, *part) for part in PARTS]
        self._libraries, classes = taken[0].parent, taken[1]
        source = SOURCE.read_bytes()
        compiled = folder / f"classes-{hashlib.sha256(source).hexdigest()[:16]}"
        if not (compiled / "OldRuntime.class").exists():
            compiled.mkdir(exist_ok=True)
            _done([compiler, "-nowarn", "-d", str(compiled), "-cp", str(classes), str(SOURCE)], "javac")
        self._class_path = f"{compiled}:{classes}"

    @property
    def java(self) -> str:
        """Version of the JVM."""
        return _done([self._java, "-version"], "java").splitlines()[0]

    def run(self, model: bytes, windows: bytes, sizes: tuple[int, ...], folder: Path) -> tuple[list[str], str]:
        """Run OldRuntime.java and return its events and standard error; its results are files in `folder`.

        If the process dies, the last event is "died".
        """
        (folder / "model.tflite").write_bytes(model)
        (folder / "windows").write_bytes(windows)
        command = [
            self._java,
            "-XX:-CreateCoredumpOnCrash",
            "-XX:ErrorFile=/dev/null",
            f"-Djava.library.path={self._libraries}",
            "-cp",
            self._class_path,
            "OldRuntime",
            "model.tflite",
            "windows",
            ",".join(map(str, sizes)),
            ".",
        ]
        try:
            completed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_RUN_SECONDS)
        except subprocess.TimeoutExpired as error:
            output = error.stdout.decode() if error.stdout else ""
            return [*_events(output), f"died no end after {_RUN_SECONDS} s"], ""
        events = _events(completed.stdout)
        if completed.returncode:
            events.append(f"died {_death(completed.returncode, completed.stderr)}")
        return events, completed.stderr


def _events(output: str) -> list[str]:
    return [
        line for line in output.splitlines() if line.split(" ", 1)[0] in ("runtime", "begin", "loaded", "end", "failed")
    ]


def _death(code: int, output: str) -> str:
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    lines = [line for line in output.splitlines() if line and not line.startswith(("INFO", "#"))]
    return f"{how}: {without_paths(lines[0])}" if lines else how


def without_paths(text: str) -> str:
    """Remove folder names from a line of output."""
    return re.sub(r"(?<![\w.])/(?:[\w.@+-]+/)+", "", text)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise InputError(f"{name} is not installed; TensorFlow Lite's Java API needs a JDK (8 or newer) and Maven")
    return found


def _done(command: list[str], what: str, seconds: int = _FETCH_SECONDS) -> str:
    try:
        completed = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{what} did not finish within {seconds} s") from error
    output = completed.stdout + completed.stderr
    if completed.returncode:
        errors = [line for line in output.splitlines() if "ERROR" in line or "error:" in line] or output.splitlines()[
            -1:
        ]
        raise InputError(f"{what} failed: {without_paths(errors[0].strip()) if errors else 'no output'}")
    return output


def _fetched(folder: Path, maven: str, coordinates: str, name: str, digest: str, member: str) -> Path:
    """Return the file `member` of an artifact, downloaded by Maven and unpacked if needed."""
    archive, target = folder / name, folder / Path(member).name
    if not archive.exists() or file_sha256(archive) != digest:
        info(f"downloading {coordinates} to the cache ...")
        _done([maven, "-q", "-B", _MAVEN, f"-Dartifact={coordinates}", f"-DoutputDirectory={folder}"], "Maven")
        if file_sha256(archive) != digest:
            raise InputError(f"{name} from Maven has another checksum; delete it in ~/.m2")
        target.unlink(missing_ok=True)
    if not target.exists():
        with zipfile.ZipFile(archive) as packed:
            files.write_bytes(target, packed.read(member))
    return target
