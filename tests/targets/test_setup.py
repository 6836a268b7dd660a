"""A setup is complete or absent; messages on other systems and for missing tools."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harexport.errors import InputError
from harexport.targets.arm64 import apt, emulator, setup
from tests.targets.conftest import facts

_Make = Callable[[], emulator.Target]


@pytest.fixture(autouse=True)
def _a_machine_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(apt, "check_tools", lambda: None)
    monkeypatch.setattr(apt, "find_mirror", lambda: apt.Mirror("http://mirror.example/debian"))
    monkeypatch.setattr(setup, "_check_pip", lambda: None)


def _built(building: Path, source: apt.Mirror, wanted: dict[str, str]) -> dict[str, Any]:
    (building / "root").mkdir()
    return {**facts(), "versions": {"qemu": "10.1", **wanted}}


def _beside(place: Path) -> list[str]:
    return sorted(path.name for path in place.parent.iterdir()) if place.parent.exists() else []


def test_the_target_is_installed_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_build", _built)
    first = setup.setup_arm64()
    assert first["seconds"] >= 0
    assert emulator.facts() == first
    assert _beside(place) == ["arm64"]
    monkeypatch.setattr(setup, "_build", _never)
    assert setup.setup_arm64() == first


def test_other_versions_of_the_runtimes_install_it_again(
    place: Path, set_up: _Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up()
    old = facts()
    old["versions"] = {**emulator.facts()["versions"], "onnxruntime": "1.0"}
    (place / emulator.FACTS).write_text(json.dumps(old))
    monkeypatch.setattr(setup, "_build", _built)
    assert setup.setup_arm64()["versions"]["qemu"] == "10.1"
    assert not (place / emulator.EMULATOR).exists(), "the old one went"
    assert _beside(place) == ["arm64"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), InputError("apt-get update failed")])
def test_an_interrupted_setup_leaves_no_files(
    place: Path, set_up: _Make, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    def half(building: Path, source: apt.Mirror, wanted: dict[str, str]) -> NoReturn:
        (building / "root").mkdir()
        raise interruption

    monkeypatch.setattr(setup, "_build", half)
    with pytest.raises(type(interruption)):
        setup.setup_arm64()
    assert _beside(place) == []
    set_up()
    with pytest.raises(type(interruption)):
        setup.setup_arm64(again=True)
    assert _beside(place) == ["arm64"], "what was there stays"
    assert emulator.load()


def test_folders_of_killed_setups_are_deleted_and_those_of_running_ones_kept(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, alive = (place.with_name(f".arm64-building-{pid}-x") for pid in (2**22 + 5, os.getpid()))
    for folder in (dead, alive):
        (folder / "root").mkdir(parents=True)
    monkeypatch.setattr(setup, "_build", _built)
    setup.setup_arm64()
    assert _beside(place) == [alive.name, "arm64"]


def test_remove(place: Path, set_up: _Make) -> None:
    assert not setup.remove_arm64()
    set_up()
    assert setup.remove_arm64()
    assert _beside(place) == []
    with pytest.raises(InputError, match=r"not set up on this machine; `harexport targets setup arm64`"):
        emulator.load()


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("win32", "AMD64"), ("linux", "aarch64")])
def test_other_systems_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(InputError, match="is for Linux on x86-64"):
        setup.setup_arm64()


def test_a_full_disk_is_reported_before_the_work(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_BUILD_MB", 10**9)
    monkeypatch.setattr(setup, "_build", _never)
    with pytest.raises(InputError, match="MB free, and the setup of the arm64 target needs"):
        setup.setup_arm64()


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HAREXPORT_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot write to .*; set HAREXPORT_CACHE"):
        setup.setup_arm64()


def test_wheels_that_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho 'ERROR: No matching distribution found for numpy==0.1' >&2; exit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(InputError, match=r"no arm64 builds for python3\.13 \(No matching distribution found"):
        setup._wheels(tmp_path / "wheels", {"numpy": "0.1"}, "python3.13", "2.41-12")


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "other"}', "{}"])
def test_a_damaged_target(place: Path, set_up: _Make, text: str) -> None:
    set_up()
    (place / emulator.FACTS).write_text(text)
    with pytest.raises(InputError, match="is damaged: run `harexport targets setup arm64 --again`"):
        emulator.load()


def _never(*arguments: object) -> NoReturn:
    raise AssertionError("this was not to be built")
