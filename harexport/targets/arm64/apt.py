"""Download Debian packages without root rights, with private apt lists, state and cache.

apt resolves the dependencies and checks the signatures; dpkg-deb unpacks.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harexport.errors import InputError

VARIABLE = "HAREXPORT_DEBIAN_MIRROR"
TOOLS = {"apt-get": "apt", "apt-config": "apt", "dpkg-deb": "dpkg"}
_RELEASES = {
    *("bullseye", "bookworm", "trixie", "forky", "duke", "sid"),
    *("oldoldstable", "oldstable", "stable", "testing", "unstable"),
}
_NETWORK = re.compile(
    r"^Acquire::(?:https?|Retries|ForceIPv[46]|proxy)\b"
)  # network settings of the machine, without hooks


@dataclass(frozen=True)
class Mirror:
    """A Debian mirror, and its keyring ("": the default of the machine)."""

    uri: str
    keyring: str = ""


@dataclass(frozen=True)
class Package:
    """A package selected by apt: its address, file name and size."""

    uri: str
    file: str
    size: int


def check_tools() -> None:
    """Raise InputError with the packages to install if a tool is missing."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join(sorted({TOOLS[tool] for tool in missing}))
        raise InputError(
            f"{', '.join(missing)} not found: the arm64 target is built from Debian packages with Debian's tools. "
            f"Install {packages}"
        )


def find_mirror(etc: Path = Path("/etc/apt")) -> Mirror:
    """Return HAREXPORT_DEBIAN_MIRROR, or the Debian mirror in the apt sources of this machine. Raises InputError."""
    if setting := os.environ.get(VARIABLE):
        if not re.match(r"^(https?|file)://\S+$", setting):
            raise InputError(f"{VARIABLE} is set to {setting!r}; give the http, https or file URL of a Debian mirror")
        return Mirror(setting.rstrip("/"))
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        try:
            text = path.read_text("utf-8", errors="replace")
        except OSError:
            continue
        found = _deb822(text) if path.suffix == ".sources" else _one_line(text) if path.suffix == ".list" else None
        if found:
            return found
    raise InputError(
        f"the apt sources of this machine ({etc}) have no Debian mirror (Ubuntu's archive has no arm64 packages). "
        f"Set {VARIABLE} to the URL of one, as in a Debian sources.list"
    )


class Apt:
    """A private apt.

    Args:
        folder: Its lists, state and cache.
        source: Debian mirror.
        suite: Release.
        architectures: The first is apt's native architecture.
    """

    def __init__(self, folder: Path, source: Mirror, suite: str, architectures: Sequence[str]) -> None:
        self._folder = folder
        for name in ("lists/partial", "archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        signed = f"[signed-by={source.keyring}] " if source.keyring else ""
        (folder / "sources.list").write_text(f"deb {signed}{source.uri} {suite} main\n", "utf-8")
        network = [
            line for line in _call(["apt-config", "dump"], dict(os.environ)).splitlines() if _NETWORK.match(line)
        ]
        (folder / "apt.conf").write_text("\n".join([*network, *self._settings(architectures)]) + "\n", "utf-8")
        self._environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C"}

    def update(self) -> None:
        """Download the package lists. Raises InputError."""
        _call(["apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any"], self._environment)

    def resolve(self, packages: Sequence[str]) -> list[Package]:
        """Return packages and all their dependencies. Raises InputError."""
        command = ["apt-get", "install", "-qq", "--print-uris", "--no-install-recommends", *packages]
        found = re.findall(r"^'([^']+)' (\S+) (\d+) ", _call(command, self._environment), re.M)
        if not found:
            raise InputError(
                f"apt found no file for {', '.join(packages)}; check whether the Debian mirror is complete"
            )
        return [Package(uri, file, int(size)) for uri, file, size in found]

    def download(self, packages: Sequence[str], needed: Sequence[Package]) -> list[Path]:
        """Download and check packages and their dependencies.

        Args:
            packages: Names.
            needed: Result of `resolve`.

        Returns:
            The .deb files.

        Raises:
            InputError: A package could not be downloaded.
        """
        command = ["apt-get", "install", "-qq", "-y", "--download-only", "--no-install-recommends", *packages]
        _call(command, self._environment)
        files = [self._folder / "archives" / package.file for package in needed]
        absent = [file.name for file in files if not file.is_file()]
        if absent:
            raise InputError(f"apt did not download {', '.join(absent)}; try again")
        return files

    def _settings(self, architectures: Sequence[str]) -> list[str]:
        quoted = " ".join(f'"{name}";' for name in architectures)
        return [
            # the machine's hooks (docker-clean, appstream) must not run for the private state
            'Dir::Etc::main "/dev/null";',
            'Dir::Etc::parts "/dev/null";',
            'Dir::Etc::sourceparts "/dev/null";',
            'Dir::Etc::preferences "/dev/null";',
            'Dir::Etc::preferencesparts "/dev/null";',
            f'Dir::Etc::sourcelist "{self._folder / "sources.list"}";',
            f'Dir::State "{self._folder}";',
            f'Dir::State::lists "{self._folder / "lists"}";',
            f'Dir::State::status "{self._folder / "status"}";',
            f'Dir::Cache "{self._folder}";',
            f'Dir::Cache::archives "{self._folder / "archives"}";',
            f"APT::Architectures {{ {quoted} }};",
            f'APT::Architecture "{architectures[0]}";',
            'APT::Sandbox::User "";',
            'APT::Keep-Downloaded-Packages "true";',
            'Debug::NoLocking "true";',
            'Acquire::Languages "none";',
            'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
        ]


def unpack(package: Path, folder: Path) -> None:
    """Unpack a .deb into a folder, with the current user as owner. Raises InputError."""
    _call(["dpkg-deb", "-x", str(package), str(folder)], dict(os.environ))


def unpack_one(package: Path, member: str, target: Path) -> None:
    """Extract one file of a .deb.

    Args:
        package: The .deb.
        member: Such as "./usr/bin/name".
        target: Path to write.

    Raises:
        InputError: The package is damaged or has no such file.
    """
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        try:
            with tarfile.open(fileobj=reader.stdout, mode="r|") as archive:
                for entry in archive:
                    if entry.name == member and (content := archive.extractfile(entry)) is not None:
                        with target.open("wb") as out:
                            shutil.copyfileobj(content, out)
                        target.chmod(0o755)
                        return
        except tarfile.TarError as error:
            raise InputError(f"{package.name} cannot be unpacked ({error}); try again") from error
        finally:
            reader.kill()
    raise InputError(f"{package.name} has no {member}; please report this")


def _deb822(text: str) -> Mirror | None:
    for paragraph in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in paragraph.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[key] = f"{fields.get(key, '')} {line.strip()}".strip()
            elif ":" in line:
                key, value = (part.strip() for part in line.split(":", 1))
                key = key.lower()
                fields[key] = value
        if fields.get("enabled", "yes").lower() in ("no", "false") or "deb" not in fields.get("types", "").split():
            continue
        keyring = fields.get("signed-by", "")
        for uri in fields.get("uris", "").split():
            if _is_debian(uri, fields.get("suites", "").split(), fields.get("components", "").split()):
                return Mirror(uri.rstrip("/"), keyring if re.fullmatch(r"/\S+", keyring) else "")
    return None


def _one_line(text: str) -> Mirror | None:
    for line in text.splitlines():
        match = re.match(r"^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if match and _is_debian(match[2], [match[3]], match[4].split()):
            keyring = re.search(r"\bsigned-by=(/\S+)", match[1] or "", re.I)
            return Mirror(match[2].rstrip("/"), keyring[1] if keyring else "")
    return None


def _is_debian(uri: str, suites: Sequence[str], components: Sequence[str]) -> bool:
    """Return whether a source is Debian's own archive, by its folder, release and component."""
    return uri.rstrip("/").endswith("/debian") and "main" in components and bool(_RELEASES & set(suites))


def _call(command: Sequence[str], environment: dict[str, str]) -> str:
    """Return the output of a command. Raises InputError with its last error message."""
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise InputError(f"{command[0]} cannot be run: {error.strerror or error}") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()[-1:]
        reason = lines[0].removeprefix("E: ") if lines else f"exit code {done.returncode}"
        raise InputError(f"{' '.join(command[:2])} failed ({reason}); check the network and try again")
    return done.stdout
