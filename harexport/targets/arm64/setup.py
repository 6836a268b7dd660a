"""`harexport targets setup arm64`: an emulator, a small arm64 root, Arm builds of the runtimes; public packages all.

Built beside its place and renamed when whole; nothing outside the user's cache folder is touched, no root rights used.
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

SUITE = "trixie"  # Debian 13: the qemu-user of Debian 12 crashes (FACTS, trap 10)
PACKAGES = ("python3", "libstdc++6", "libgomp1")
EMULATOR = "qemu-user:amd64"  # statically linked: runs on any Linux of this processor
WHEELS = ("numpy", "ai-edge-litert", "onnxruntime")
_LISTS_MB = 20
_SPARE_MB = 900  # while it builds; ready it takes under half of that
_UNUSED = re.compile(r"(^|/)(tests|vendors|doc|man|locale|lintian)/|WebGpu|libpython.*\.a$")


def setup_arm64(again: bool = False) -> dict[str, Any]:
    """Prepare the arm64 target, unless it is ready with the runtimes' versions of this machine. Returns its facts.

    Says on standard error what it does. `again` prepares it anew. Raises InputError; what was there stays until then.
    """
    check_platform()
    wanted = {name: _version(name) for name in WHEELS}
    place = arm64.folder()
    facts = None if again else _ready(wanted)
    if facts:
        info(f"The arm64 target is ready in {place}")
        return facts
    apt.check_tools()
    source = apt.mirror()
    _check_pip()
    began = time.monotonic()
    with _beside(place) as building:
        facts = _build(building, source, wanted)
        facts["seconds"] = round(time.monotonic() - began)
        (building / arm64.FACTS).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
        _take_place(building, place)
    info(
        f"The arm64 target is ready in {place}: {facts['download_mb']} MB downloaded, {facts['disk_mb']} MB on disk, "
        f"{facts['seconds']} s. `harexport targets remove arm64` deletes it"
    )
    return facts


def remove_arm64() -> bool:
    """Delete the arm64 target and what interrupted set-ups left; False where there was nothing. Raises InputError."""
    place = arm64.folder()
    try:
        found = _left(place)
        if place.exists():
            found.append(_set_aside(place))
        for path in found:
            shutil.rmtree(path)
    except OSError as error:
        raise InputError(f"cannot delete {error.filename or place}: {error.strerror or error}") from error
    return bool(found)


def check_platform() -> None:
    """Raise InputError where the target cannot run."""
    machine = platform.machine().lower()
    if sys.platform != "linux" or machine not in ("x86_64", "amd64"):
        raise InputError(
            f"the arm64 target is for Linux on x86-64, this is {platform.system()} on {platform.machine()}: use such a "
            "machine, a virtual one or a container; on 64-bit Arm itself, run `harexport bench` directly"
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
    needed = private.needed(names)
    megabytes = sum(package.size for package in needed) / 1e6
    info(f"2/5 {len(needed)} Debian packages, {megabytes:.0f} MB ...")
    megabytes += _LISTS_MB
    debs = private.download(names, needed)
    emulator = next(path for path in debs if path.name.startswith("qemu-user"))
    versions = {
        "qemu": _deb_version(emulator),
        "libc": _deb_version(next(p for p in debs if p.name.startswith("libc6_"))),
    }
    info("3/5 Unpacking them ...")
    apt.unpack_one(emulator, "./usr/bin/qemu-aarch64", building / arm64.EMULATOR)
    for deb in debs:
        if deb != emulator:
            apt.unpack(deb, root)
    for name in ("bin", "lib", "sbin"):  # in a whole Debian these links come with base-files
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    for share in ("doc", "man", "locale", "lintian"):
        shutil.rmtree(root / "usr/share" / share, ignore_errors=True)
    python = _python_of(root)
    info(f"4/5 The runtimes' Arm builds: {', '.join(f'{name} {version}' for name, version in wanted.items())} ...")
    wheels = _wheels(work / "wheels", wanted, python, versions["libc"])
    for wheel in wheels:
        _unzip(wheel, site)
    megabytes += sum(wheel.stat().st_size for wheel in wheels) / 1e6
    shutil.rmtree(work)
    info("5/5 Trying it ...")
    answered = arm64.Target(building, python).guest({}, timeout_s=600)
    told = {"numpy": answered.get("numpy"), "onnxruntime": answered.get("onnxruntime")}
    if answered.get("machine") != "aarch64" or any(wanted[name] != version for name, version in told.items()):
        raise InputError(f"the emulated machine answers {answered}, which is not what was set up; try again")
    return {
        "schema": "harexport-target-1",
        "versions": {**versions, "python": answered["python"], **wanted},
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
            f"pip found no Arm builds for {python} ({lines[-1].removeprefix('ERROR: ')}); check the network, or "
            "install versions of the runtimes here that have them"
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
        raise InputError(
            f"{name} is not installed here: the target takes the same version; install harexport"
        ) from None


def _check_pip() -> None:
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode != 0:
        raise InputError("pip, which fetches the runtimes' Arm builds, is missing here: python -m ensurepip")


def _python_of(root: Path) -> str:
    found = sorted(
        path.name for path in (root / "usr/bin").glob("python3.*") if re.fullmatch(r"python3\.\d+", path.name)
    )
    if not found:
        raise InputError("Debian's python3 package brought no interpreter; report this")
    return found[-1]


def _deb_version(deb: Path) -> str:
    """Of a file name_version_architecture.deb, without epoch."""
    return deb.name.split("_")[1].split("%3a")[-1]


@contextlib.contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """A new folder beside `place` that disappears, unless it was renamed; also what dead processes left there."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        for left in _left(place):
            shutil.rmtree(left, ignore_errors=True)
        if (free := shutil.disk_usage(place.parent).free / 1e6) < _SPARE_MB:
            raise InputError(
                f"{place.parent} has {free:.0f} MB left and the arm64 target needs {_SPARE_MB} while it is built; "
                "make room, or set HAREXPORT_CACHE to a folder elsewhere"
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


def _take_place(building: Path, place: Path) -> None:
    building.chmod(0o755)  # mkdtemp makes private folders
    old = _set_aside(place) if place.exists() else None
    building.rename(place)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _set_aside(place: Path) -> Path:
    """Rename the target, so that no one finds half of it while it is deleted."""
    aside = place.with_name(f".{place.name}-building-{os.getpid()}-old")
    place.rename(aside)
    return aside


def _left(place: Path) -> list[Path]:
    """What set-ups left that were killed: their folders bear the number of a process that is no more."""
    found = place.parent.glob(f".{place.name}-building-*")
    return [path for path in found if not Path(f"/proc/{path.name.split('-')[2]}").exists()]
