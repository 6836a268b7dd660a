"""The command line: help, exit codes, JSON, and messages instead of tracebacks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from harexport import __version__
from harexport.cli import main
from harexport.commands.options import SectionedCommand, SectionedOption
from harexport.data import Dataset

COMMANDS = (["train"], ["crossval"], ["sweep"], ["export"], ["inspect"], ["bench"], ["predict"], ["demo"],
            ["data", "fetch"], ["data", "info"], ["targets", "setup"], ["targets", "remove"], ["targets", "info"],
            ["robustness"])  # fmt: skip


def harexport(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _command(names: list[str]) -> click.Command:
    found: click.Command = main
    for name in names:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    return found


def _cpu_seconds(*arguments: str) -> float:
    """Processor time of `python ARGUMENTS`: elapsed time also contains the waiting for other processes."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@pytest.mark.serial
def test_help_starts_quickly() -> None:
    """`harexport --help` takes less than 0.1 s beyond the start of Python itself; the best of some runs counts.

    On a machine where importing click alone takes more than 0.033 s, the limit is three times that import.
    """
    python = min(_cpu_seconds("-c", "pass") for _ in range(5))
    click_import = min(_cpu_seconds("-c", "import click") for _ in range(5)) - python
    limit = max(0.1, 3 * click_import)
    assert any(_cpu_seconds("-m", "harexport", "--help") - python < limit for _ in range(30))


def test_help_lists_every_command_in_one_line() -> None:
    lines = harexport("--help").output.splitlines()
    for name, command in main.commands.items():
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        summary = " ".join(line.split()[1:])
        assert summary == (command.help or "").split("\n\n")[0].split("\b")[0].strip()
        assert summary.endswith(".")
        assert not summary.endswith("...")
        assert len(line) <= 80


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: list[str]) -> None:
    result = harexport(*command, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert "--json" in result.output
    code = f"import sys; from harexport.cli import main; main({[*command, '--help']!r}, standalone_mode=False)"
    heavy = "; print([m for m in ('numpy', 'torch', 'scipy', 'onnx', 'matplotlib', 'rich') if m in sys.modules])"
    child = subprocess.run([sys.executable, "-c", code + heavy], capture_output=True, text=True)
    assert child.stdout.splitlines()[-1] == "[]", "help imports something heavy"


# The first words of the summaries. They are imperatives: "Train a recipe", not "Trains" or "The training of".
_VERBS = {"Check", "Classify", "Compare", "Cross-validate", "Delete", "Describe", "Download", "Export", "Install",
          "List", "Measure", "Report", "Set", "Train"}  # fmt: skip


@pytest.mark.parametrize("command", [*COMMANDS, ["data"], ["targets"]], ids=" ".join)
def test_summaries_are_imperative(command: list[str]) -> None:
    summary = (_command(command).help or "").split(".")[0]
    assert re.split(r"[ ,:]", summary)[0] in _VERBS
    assert len(summary) <= 80


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_many_options_are_listed_in_sections(command: list[str]) -> None:
    options = [parameter for parameter in _command(command).params if isinstance(parameter, click.Option)]
    assert all(option.help for option in options), "every option has a help text"
    if len(options) > 9:  # and --help
        assert isinstance(_command(command), SectionedCommand)
        text = harexport(*command, "--help").output
        for parameter in options:
            assert isinstance(parameter, SectionedOption)
            assert f"\n{parameter.section}:" in text
            assert parameter.opts[0] in text


def test_options_of_one_name_mean_the_same() -> None:
    """Shared options are the same in all commands: same type and same help, except for what a test names here."""
    seen: dict[str, set[tuple[str, str]]] = {}
    for command in COMMANDS:
        for parameter in _command(command).params:
            if isinstance(parameter, click.Option):
                described = (repr(parameter.type), parameter.help or "")
                seen.setdefault(parameter.opts[0], set()).add(described)
    different = {name for name, descriptions in seen.items() if len(descriptions) > 1}
    assert different <= {"--data"}  # `predict` reads only columns and units of the dataset


def test_version() -> None:
    assert __version__ in harexport("--version").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--recipe", "egde"], "Did you mean edge"),
        (["train", "--seed", "-1"], "--seed"),
        (["export", "--format", "coreml"], "'onnx', 'tflite', 'all'"),
        (["export", "missing.safetensors"], "checkpoint not found: missing.safetensors"),
        (["export"], "no checkpoint in harexport-out"),
        (["train", "--seed", str(2**64)], "--seed"),
        (["export", "x" * 5000], "too long"),
        (["export", "--lowering", "rolled"], "'auto', 'fused', 'loop', 'unrolled'"),
        (["bench", "missing.tflite"], "not found: missing.tflite"),
        (["bench", "--runs", "10"], "--runs"),
        (["data", "fetch", "--source", "kaggle"], "'auto', 'uci', 'pypi'"),
        (["data", "info", "--data", "nowhere"], "nowhere"),
        (["trian"], "No such command"),
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = harexport(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_data_info_prints_json_and_text(uci_har_path: Path, dataset: Dataset, tmp_path: Path) -> None:
    result = harexport("data", "info", "--data", uci_har_path, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    described = json.loads(result.stdout)
    assert described["test"]["shape"] == [2947, 128, 9]
    assert described["digest"] == dataset.digest
    assert (tmp_path / "windows.png").read_bytes().startswith(b"\x89PNG")
    text = harexport("data", "info", "--data", uci_har_path, "--out", tmp_path)
    assert "mean 0.0991399, standard deviation 0.395671" in text.stdout


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [(["train"], "torch", "train"), (["demo"], "torch", "train")],
    ids=["train", "demo"],
)
def test_missing_extra_is_named(
    command: list[str], package: str, extra: str, uci_har_path: Path, tmp_path: Path
) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from harexport.cli import main; main()"
    child = subprocess.run(
        [sys.executable, "-c", code, *command, "--data", str(uci_har_path), "--out", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert child.returncode == 2, child.stderr
    assert f"pip install -c constraints.txt '.[{extra}]'" in child.stderr
    assert "Traceback" not in child.stderr
    assert list(tmp_path.iterdir()) == []
