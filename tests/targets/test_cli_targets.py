"""The command `harexport targets`."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harexport import cli
from harexport.commands.targets import targets
from harexport.targets.arm64 import emulator

if "targets" not in cli.main.commands:
    cli.main.add_command(targets)


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["targets", *arguments])


def test_info_without_and_with_a_target(place: Path, set_up: Callable[[], emulator.Target]) -> None:
    result = _run("info")
    assert result.exit_code == 0
    assert "not set up on this machine; `harexport targets setup arm64`" in result.output
    assert json.loads(_run("info", "--json").stdout)["arm64"] is None
    set_up()
    assert "141 MB downloaded, 217 MB, 30 s" in _run("info").output
    assert json.loads(_run("info", "--json").stdout)["arm64"]["folder"] == str(place)


def test_setup_on_another_machine_exits_with_2(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    result = _run("setup", "arm64")
    assert result.exit_code == 2
    assert "is for Linux on x86-64" in result.output


def test_remove(place: Path, set_up: Callable[[], emulator.Target]) -> None:
    assert _run("remove", "arm64").output == "arm64 was not set up\n"
    set_up()
    assert json.loads(_run("remove", "arm64", "--json").stdout) == {"removed": True}
    assert not place.exists()


def test_another_target_is_refused() -> None:
    result = _run("setup", "riscv")
    assert result.exit_code == 2
    assert "'riscv' is not 'arm64'" in result.output
