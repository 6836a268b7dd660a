"""Commands `harexport targets`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harexport.commands.options import data_option, json_option, load_data, print_result

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


@targets.command()
@_TARGET
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@data_option
@click.option("--windows", type=click.IntRange(1), default=64, show_default=True, help="Test windows to compare.")
@click.option("--all", "whole", is_flag=True, help="Compare all test windows: minutes a file.")
@click.option("--instructions", is_flag=True, help="Also count the executed instructions per window: seconds a file.")
@json_option
def check(
    target: str,
    models: tuple[Path, ...],
    data: Path | None,
    windows: int,
    whole: bool,
    instructions: bool,
    as_json: bool,
) -> None:
    """Run MODELS (.tflite, .onnx, folders of them; default: the shipped model) in Arm builds, and compare the answers.

    Exit codes: 0 every file answers on Arm as it does here, 1 one does not, 2 the target or a file cannot be used.

    \b
    Example:  harexport targets check arm64
              harexport targets check arm64 artifacts/edge --instructions
    """
    from harexport.targets.arm64.check import check_arm64, text

    results = check_arm64(models, load_data(data).test, None if whole else windows, instructions)
    rows = [result.to_dict() for result in results]
    passed = all(result.passed for result in results)
    print_result({"passed": passed, "files": rows}, as_json, text(results))
    if not passed:
        sys.exit(2 if any(result.error for result in results) else 1)


def _text(facts: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return f"arm64: {versions}; {facts['download_mb']} MB downloaded, {facts['disk_mb']} MB, {facts['seconds']} s"
