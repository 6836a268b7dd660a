"""Commands `harexport targets`."""

from __future__ import annotations

from typing import Any

import click

from harexport.commands.options import json_option, print_result

_TARGET = click.argument("target", type=click.Choice(["arm64"]))


@click.group()
def targets() -> None:
    """Set up other machines to test on (emulated arm64)."""


@targets.command()
@_TARGET
@click.option("--again", is_flag=True, help="Repeat a complete setup.")
@json_option
def setup(target: str, again: bool, as_json: bool) -> None:
    """Install the emulator, a small Debian root and the arm64 builds of the runtimes.

    Linux on x86-64 only. Needs Debian's apt and dpkg, and no root rights. Everything is stored in the cache folder.
    Then run: harexport bench --target arm64

    \b
    Example:  harexport targets setup arm64
    """
    from harexport.targets.arm64.setup import setup_arm64

    facts = setup_arm64(again)
    print_result(facts, as_json, _text(facts))


@targets.command()
@_TARGET
@json_option
def remove(target: str, as_json: bool) -> None:
    """Delete what setup installed.

    \b
    Example:  harexport targets remove arm64
    """
    from harexport.targets.arm64.setup import remove_arm64

    removed = remove_arm64()
    print_result({"removed": removed}, as_json, f"{target} is removed" if removed else f"{target} was not set up")


@targets.command()
@json_option
def info(as_json: bool) -> None:
    """List the targets that are ready, their versions and their size.

    \b
    Example:  harexport targets info
    """
    from harexport.errors import InputError
    from harexport.targets.arm64 import emulator

    try:
        facts = emulator.facts()
    except InputError as error:
        print_result({"arm64": None, "reason": str(error)}, as_json, f"arm64: {error}")
        return
    print_result(
        {"arm64": {**facts, "folder": str(emulator.folder())}}, as_json, f"{_text(facts)}\nin {emulator.folder()}"
    )


def _text(facts: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return f"arm64: {versions}; {facts['download_mb']} MB downloaded, {facts['disk_mb']} MB, {facts['seconds']} s"
