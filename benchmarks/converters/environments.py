"""Virtual environments of converters with conflicting dependencies: pinned, created on demand in the cache."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata as installed
from pathlib import Path

from harexport.errors import InputError
from harexport.utils.console import info

FOLDER = Path(__file__).parent
COSTS = {"litert-torch": "6.6 GB", "onnx2tf": "2.6 GB", "quantizer": "0.3 GB"}
# packages whose versions the tables list; the requirements files have all of them
_PACKAGES = {
    "harexport": ("ai-edge-litert", "onnxruntime", "onnx", "torch", "tensorflow", "keras", "tf_keras"),
    "litert-torch": ("litert-torch", "litert-converter", "torch", "onnxscript"),
    "onnx2tf": ("onnx2tf", "tensorflow", "tf_keras", "onnxsim"),
    "quantizer": ("ai-edge-quantizer",),
}
_INSTALL_SECONDS = 1800
_refused: dict[str, InputError] = {}  # failed installations, tried once per run


def requirements(name: str) -> str:
    """Return the pinned packages of an environment; empty for the current one."""
    path = FOLDER / f"requirements-{name}.txt"
    return path.read_text("utf-8") if path.exists() else ""


def python(name: str, folder: Path) -> Path:
    """Return the Python interpreter of an environment, created in `folder` if needed.

    Raises:
        InputError: It cannot be created.
    """
    wanted = requirements(name)
    if not wanted:
        return Path(sys.executable)
    if sys.version_info[:2] != (3, 11):
        raise InputError(f"the environment {name} is pinned for Python 3.11, this is {sys.version.split()[0]}")
    place = folder / name
    interpreter, mark = place / "bin" / "python", place / "harexport-requirements.txt"
    if mark.exists() and mark.read_text("utf-8") == wanted:
        return interpreter
    if name in _refused:
        raise _refused[name]
    info(f"Installing {name} to the cache for comparison ({COSTS[name]}, some minutes) ...")
    try:
        _run(name, [sys.executable, "-m", "venv", "--clear", str(place)])
        _run(name, [str(interpreter), "-m", "pip", "install", "-q", "-r", str(FOLDER / f"requirements-{name}.txt")])
    except InputError as error:
        _refused[name] = error
        raise
    mark.write_text(wanted, "utf-8")
    return interpreter


def versions(name: str) -> dict[str, str]:
    """Return the package versions of an environment, from its pins or from the installed packages."""
    wanted = requirements(name)
    if wanted:
        pins = dict(line.split("==") for line in wanted.splitlines() if "==" in line)
        return {package: pins[package] for package in _PACKAGES[name]}
    found = {}
    for package in _PACKAGES[name]:
        try:
            found[package] = installed.version(package)
        except installed.PackageNotFoundError:
            found[package] = "not installed"
    return found


def without_paths(text: str) -> str:
    """Remove folder names from a line of output."""
    return re.sub(r"(?<![\w.])/(?:[\w.@+-]+/)+", "", text)


def _run(name: str, command: list[str]) -> None:
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise InputError(f"{name} was not installed within {_INSTALL_SECONDS} s") from None
    if child.returncode != 0:
        lines = [line for line in child.stderr.splitlines() if line.strip()] or ["no message"]
        raise InputError(f"{name} does not install: {without_paths(lines[-1])}")
