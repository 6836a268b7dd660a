"""Set up the arm64 target: an emulator, a small Debian root and the arm64 builds of the runtimes.

It is built in a temporary folder of the cache and renamed when complete. No root rights are needed, and nothing outside
the cache folder changes.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from importlib import metadata as installed
from pathlib import Path
from typing import Any

from harexport.errors import InputError
from harexport.targets.arm64 import apt
from harexport.targets.arm64 import emulator as arm64
from harexport.utils.console import info

SUITE = "trixie"  # Debian 13: qemu-user 7.2 of Debian 12 crashes in these runtimes
PACKAGES = ("python3", "libstdc++6", "libgomp1")
EMULATOR = "qemu-user:amd64"  # statically linked: runs on any Linux on x86-64
WHEELS = ("numpy", "ai-edge-litert", "onnxruntime")
_LISTS_MB = 20
_BUILD_MB = 900  # free space needed to build; the result takes less than half
_UNUSED = re.compile(r"(^|/)(tests|vendors|doc|man|locale|lintian)/|WebGpu|libpython.*\.a$")


def setup_arm64(again: bool = False) -> dict[str, Any]:
    """Install the arm64 target, unless it exists with the runtime versions of this machine.

    Args:
        again: Install it even if it exists.

    Returns:
        Its versions and size.

    Raises:
        InputError: The installation failed; an existing target is unchanged.
    """
    check_platform()
    wanted = {name: _version(name) for name in WHEELS}
    place = arm64.folder()
    facts = None if again else _ready(wanted)
    if facts:
        info(f"The arm64 target is ready in {place}")
        return facts
    apt.check_tools()
    source = apt.find_mirror()
    _check_pip()
    began = time.monotonic()
    with _beside(place) as building:
        facts = _build(building, source, wanted)
        facts["seconds"] = round(time.monotonic() - began)
        (building / arm64.FACTS).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
        _activate(building, place)
    info(
        f"The arm64 target is ready in {place}: {facts['download_mb']} MB downloaded, {facts['disk_mb']} MB on disk, "
        f"{facts['seconds']} s. `harexport targets remove arm64` deletes it"
    )
    return facts


def remove_arm64() -> bool:
    """Delete the arm64 target and the remains of interrupted setups.

    Returns:
        Whether there was anything to delete.

    Raises:
        InputError: A file cannot be deleted.
    """
    place = arm64.folder()
    try:
        found = _stale_builds(place)
        if place.exists():
            found.append(_move_aside(place))
        for path in found:
            shutil.rmtree(path)
    except OSError as error:
        raise InputError(f"cannot delete {error.filename or place}: {error.strerror or error}") from error
    return bool(found)


def check_platform() -> None:
    """Raise InputError if the target cannot run on this machine."""
    machine = platform.machine().lower()
    if sys.platform != "linux" or machine not in ("x86_64", "amd64"):
        raise InputError(
            f"the arm64 target is for Linux on x86-64, this is {platform.system()} on {platform.machine()}. Use a "
            "container or a virtual machine; on 64-bit Arm run `harexport bench` directly"
        )


def _ready(wanted: dict[str, str]) -> dict[str, Any] | None:
    try:
        facts = arm64.facts()
    except InputError:
        return None
    return facts if {name: facts["versions"].get(name) for name in wanted} == wanted else None


def _build(building: Path, source: apt.Mirror, wanted: dict[str, str]) -> dict[str, Any]:
    root, site, work = building / "root", building / "site", building / "work"
    for folder in (root, site, work):
        folder.mkdir()
    info(f"1/5 Debian's package lists ({SUITE}, about {_LISTS_MB} MB) ...")
    private = apt.Apt(work, source, SUITE, ("arm64", "amd64"))
    private.update()
    names = (*PACKAGES, EMULATOR)
    needed = private.resolve(names)
    megabytes = sum(package.size for package in needed) / 1e6
    info(f"2/5 {len(needed)} Debian packages, {megabytes:.0f} MB ...")
    megabytes += _LISTS_MB
    debs = private.download(names, needed)
    emulator = next(path for path in debs if path.name.startswith("qemu-user"))
    versions = {
        "qemu": _deb_version(emulator),
        "libc": _deb_version(next(p for p in debs if p.name.startswith("libc6_"))),
    }
    info("3/5 Unpacking ...")
    apt.unpack_one(emulator, "./usr/bin/qemu-aarch64", building / arm64.EMULATOR)
    for deb in debs:
        if deb != emulator:
            apt.unpack(deb, root)
    for name in ("bin", "lib", "sbin"):  # in a complete Debian these links belong to base-files
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    for share in ("doc", "man", "locale", "lintian"):
        shutil.rmtree(root / "usr/share" / share, ignore_errors=True)
    python = _python_of(root)
    info(f"4/5 arm64 builds of the runtimes: {', '.join(f'{name} {version}' for name, version in wanted.items())} ...")
    wheels = _wheels(work / "wheels", wanted, python, versions["libc"])
    for wheel in wheels:
        _unzip(wheel, site)
    megabytes += sum(wheel.stat().st_size for wheel in wheels) / 1e6
    shutil.rmtree(work)
    info("5/5 Testing ...")
    response = arm64.Target(building, python).guest({}, timeout_s=600)
    found = {"numpy": response.get("numpy"), "onnxruntime": response.get("onnxruntime")}
    if response.get("machine") != "aarch64" or any(wanted[name] != version for name, version in found.items()):
        raise InputError(f"the emulated machine reports {response}, which is not what was installed; try again")
    return {
        "schema": "harexport-target-1",
        "versions": {**versions, "python": response["python"], **wanted},
        "python": python,
        "download_mb": round(megabytes),
        "disk_mb": round(sum(p.lstat().st_size for p in building.rglob("*") if not p.is_dir()) / 1e6),
    }


def _wheels(folder: Path, wanted: dict[str, str], python: str, libc: str) -> list[Path]:
    newest = re.match(r"2\.(\d+)", libc)
    tags = [f"manylinux_2_{minor}_aarch64" for minor in range(17, int(newest[1]) + 1 if newest else 42)]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    command += ["--python-version", python.removeprefix("python"), "--disable-pip-version-check"]
    command += [f"--platform={tag}" for tag in [*tags, "manylinux2014_aarch64"]]
    done = subprocess.run(
        [*command, *(f"{name}=={version}" for name, version in wanted.items())],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        lines = (
            [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines() or [""]
        )
        raise InputError(
            f"pip found no arm64 builds for {python} ({lines[-1].removeprefix('ERROR: ')}). Check the network, or "
            "install versions of the runtimes that have such builds"
        )
    return sorted(folder.glob("*.whl"))


def _unzip(wheel: Path, site: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site, [name for name in archive.namelist() if not _UNUSED.search(name)])
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{wheel.name} cannot be unpacked ({error}); try again") from error


def _version(name: str) -> str:
    try:
        return installed.version(name)
    except installed.PackageNotFoundError:
        raise InputError(f"{name} is not installed: the target uses the same version; install harexport") from None


def _check_pip() -> None:
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode != 0:
        raise InputError("pip, which downloads the arm64 builds, is missing: run python -m ensurepip")


def _python_of(root: Path) -> str:
    found = sorted(
        path.name for path in (root / "usr/bin").glob("python3.*") if re.fullmatch(r"python3\.\d+", path.name)
    )
    if not found:
        raise InputError("Debian's python3 package contains no interpreter; please report this")
    return found[-1]


def _deb_version(deb: Path) -> str:
    """Return the version in a file name name_version_architecture.deb, without epoch."""
    return deb.name.split("_")[1].split("%3a")[-1]


@contextlib.contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """Create a folder beside `place` and delete it afterwards, unless it was renamed; delete stale builds first."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        for left in _stale_builds(place):
            shutil.rmtree(left, ignore_errors=True)
        if (free := shutil.disk_usage(place.parent).free / 1e6) < _BUILD_MB:
            raise InputError(
                f"{place.parent} has {free:.0f} MB free, and the setup of the arm64 target needs {_BUILD_MB} MB. Free "
                "space, or set HAREXPORT_CACHE to another folder"
            )
        building = Path(tempfile.mkdtemp(prefix=f".{place.name}-building-{os.getpid()}-", dir=place.parent))
    except OSError as error:
        raise InputError(f"cannot write to {place.parent}: {error.strerror or error}; set HAREXPORT_CACHE") from error
    try:
        yield building
    except OSError as error:
        raise InputError(f"setting up the arm64 target failed: {error.filename or ''} {error.strerror}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _activate(building: Path, place: Path) -> None:
    building.chmod(0o755)  # mkdtemp creates private folders
    old = _move_aside(place) if place.exists() else None
    building.rename(place)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _move_aside(place: Path) -> Path:
    """Rename the target, so that it is never visible while partly deleted."""
    aside = place.with_name(f".{place.name}-building-{os.getpid()}-old")
    place.rename(aside)
    return aside


def _stale_builds(place: Path) -> list[Path]:
    """Return the folders of setups whose process, in the folder's name, no longer exists."""
    found = place.parent.glob(f".{place.name}-building-*")
    return [path for path in found if not Path(f"/proc/{path.name.split('-')[2]}").exists()]
