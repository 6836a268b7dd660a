"""The Debian mirror is found in the apt sources of the machine; failures of apt are messages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harexport.errors import InputError
from harexport.targets.arm64 import apt
from tests.helpers.requirements import requires

_DEB822 = """
Types: deb
# URIs: http://snapshot.example/archive
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""


@pytest.fixture(autouse=True)
def _no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(apt.VARIABLE, raising=False)


def _etc(folder: Path, **sources: str) -> Path:
    (folder / "sources.list.d").mkdir(parents=True)
    for name, text in sources.items():
        (folder / "sources.list.d" / name.replace("_", ".")).write_text(text)
    return folder


def test_a_deb822_source(tmp_path: Path) -> None:
    found = apt.find_mirror(_etc(tmp_path, debian_sources=_DEB822))
    assert found == apt.Mirror("http://mirror.example/debian", "/usr/share/keyrings/debian-archive-keyring.gpg")


@pytest.mark.parametrize(
    ("line", "keyring"),
    [
        ("deb http://mirror.example/debian trixie main contrib", ""),
        ("deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ stable main # ours", "/k.gpg"),
    ],
)
def test_a_one_line_source(tmp_path: Path, line: str, keyring: str) -> None:
    _etc(tmp_path)
    (tmp_path / "sources.list").write_text(f"# a comment\n{line}\n")
    assert apt.find_mirror(tmp_path) == apt.Mirror("http://mirror.example/debian", keyring)


@pytest.mark.parametrize(
    "line",
    [
        "deb http://mirror.example/ubuntu noble main",
        "deb http://apps.example/linux/debian bookworm stable",  # a third-party repository for Debian
        "deb http://apps.example/apt tool-bookworm main",
        "deb-src http://mirror.example/debian trixie main",
        "# deb http://mirror.example/debian trixie main",
    ],
)
def test_other_archives_are_not_used(tmp_path: Path, line: str) -> None:
    disabled = _DEB822.replace("Types: deb\n#", "Enabled: no\nTypes: deb\n#")
    with pytest.raises(InputError, match=r"have no Debian mirror.*HAREXPORT_DEBIAN_MIRROR"):
        apt.find_mirror(_etc(tmp_path, a_list=line, b_sources=disabled, c_gpg="x"))


def test_the_environment_variable_has_priority_and_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(apt.VARIABLE, "https://near.example/debian/")
    assert apt.find_mirror(tmp_path) == apt.Mirror("https://near.example/debian")
    monkeypatch.setenv(apt.VARIABLE, "near.example")
    with pytest.raises(InputError, match="give the http, https or file URL"):
        apt.find_mirror(tmp_path)


def test_missing_tools_are_named_with_their_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"apt-get, apt-config, dpkg-deb not found.*Install apt dpkg"):
        apt.check_tools()


def _fake(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    folder.mkdir()
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


_CONFIG = """cat <<'END'
Acquire::http::Proxy "http://proxy.example:3128";
APT::Update::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";
END"""


def test_private_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "'http://mirror.example/debian/pool/p_1%3a2_arm64.deb' p_1%3a2_arm64.deb 123 SHA256:abc"
    _fake(tmp_path / "bin", monkeypatch, apt_config=_CONFIG, apt_get=f'echo "{uri}"')
    private = apt.Apt(tmp_path / "work", apt.Mirror("http://mirror.example/debian", "/k.gpg"), "trixie", ("arm64",))
    assert private.resolve(["p"]) == [apt.Package(uri.split("'")[1], "p_1%3a2_arm64.deb", 123)]
    source = (tmp_path / "work/sources.list").read_text()
    assert source == "deb [signed-by=/k.gpg] http://mirror.example/debian trixie main\n"
    settings = (tmp_path / "work/apt.conf").read_text()
    assert "proxy.example" in settings, "a network's settings are kept"
    assert "Post-Invoke" not in settings, "the machine's hooks are not to run"
    with pytest.raises(InputError, match=r"did not download p_1%3a2_arm64\.deb"):
        private.download(["p"], private.resolve(["p"]))


def test_the_first_error_of_apt_is_in_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "{ echo W: old; echo E: The repository has no Release file.; echo E: Some failed.; } >&2; exit 100"
    _fake(tmp_path / "bin", monkeypatch, apt_config="true", apt_get=script)
    private = apt.Apt(tmp_path / "work", apt.Mirror("http://mirror.example/debian"), "trixie", ("arm64",))
    with pytest.raises(InputError, match=r"apt-get update failed \(The repository has no Release file\.\)"):
        private.update()


@requires("apt")
def test_an_invalid_package(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"dpkg-deb|has no|cannot be unpacked"):
        apt.unpack_one(tmp_path / "x.deb", "./usr/bin/x", tmp_path / "x")
