"""Every code block of the documentation runs, or is checked for syntax where it cannot run here."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from harexport.cli import main
from harexport.data.custom import config
from harexport.data.recordings import reader
from harexport.model import recipe as recipes
from harexport.model.contract import Contract
from tests.docs.pages import ROOT, CodeBlock, code_blocks, commands
from tests.helpers.requirements import official_files

_SHELL = [(str(block), line) for block in code_blocks("bash", "console") for line in commands(block)]
# Commands that run here. The others take minutes, or need a phone, a cluster, a custom dataset or a recording of
# standing: only their syntax is checked.
_RUN = re.compile(
    r"harexport (export(?!.*my-)|inspect|predict(?!.*(my-recordings|\.zip|standing:))|data info(?!.*my-)"
    r"|targets info)"
)


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    """Find the command that `words` name, and its arguments."""
    found: click.Command = main
    while isinstance(found, click.Group):
        found, words = found.commands[words[0]], words[1:]
    return found, words


@pytest.mark.parametrize(("where", "line"), _SHELL)
def test_shell_command_is_valid(where: str, line: str) -> None:
    """Commands, options, files, make targets and extras exist."""
    words = shlex.split(line.rpartition("| ")[2], comments=True)
    if words[0] == "harexport":
        command, arguments = _command(words[1:])
        parent = click.Context(main, info_name="harexport", **main.context_settings)
        command.make_context(words[1], arguments, parent=parent)  # raises click.UsageError
    elif words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert words[1] in targets
    elif words[0] == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        for extra in re.findall(r"\[(\w+)\]", line):
            assert extra in project["optional-dependencies"]
    elif words[0] in ("python", ".venv/bin/python"):
        for word in words[1:]:
            if "/" in word:
                assert (ROOT / word).exists(), word
        if words[1].endswith(".py"):
            source = (ROOT / words[1]).read_text("utf-8")
            assert all(word in source for word in words[2:] if word.startswith("--"))
    else:
        assert words[0] == ".venv/bin/pre-commit"


@pytest.mark.parametrize(
    ("where", "line"), [(where, line) for where, line in _SHELL if _RUN.match(line.rpartition("| ")[2])]
)
def test_command_runs(where: str, line: str, workspace: Path, recording: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if path := official_files():
        monkeypatch.setenv("HAREXPORT_DATA", str(path))
    feed = recording if "--follow" in line else None
    arguments = shlex.split(line.rpartition("| ")[2], comments=True)[1:]
    result = CliRunner().invoke(main, arguments, input=feed)
    assert result.exit_code == 0, result.output


def _pattern(expected: str) -> str:
    """Return a regular expression for an output: any number for a number, any lines for a line "..."."""
    lines = []
    for line in expected.splitlines():
        if line.strip() == "...":
            lines.append(r"(?:.*\n)*?")
        else:
            parts = re.split(r"\d[\d,.:]*", " ".join(line.split()))
            lines.append(r"\d[\d,.:]*".join(re.escape(part) for part in parts) + r"\n")
    return "".join(lines)


@pytest.mark.parametrize("block", code_blocks("console"), ids=str)
def test_output_is_real(block: CodeBlock, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A console block shows what the command prints; only numbers may differ."""
    command, expected = block.text.removeprefix("$ ").split("\n", 1)
    monkeypatch.setenv("COLUMNS", "110")
    if path := official_files():
        monkeypatch.setenv("HAREXPORT_DATA", str(path))
    result = CliRunner().invoke(main, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    printed = "\n".join(" ".join(line.split()) for line in result.stdout.splitlines()) + "\n"
    assert re.fullmatch(_pattern(expected), printed), f"the output of `{command}` is now:\n{result.stdout}"


@pytest.mark.parametrize("block", code_blocks("python"), ids=str)
def test_python_runs(
    block: CodeBlock, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if path := official_files():
        monkeypatch.setenv("HAREXPORT_DATA", str(path))
    exec(compile(block.text, str(block), "exec"), {"__name__": "example"})
    if block.page == "README.md":
        assert float(capsys.readouterr().out.split()[-1]) > 0.975


@pytest.mark.parametrize("block", code_blocks("toml"), ids=str)
def test_toml_is_valid(block: CodeBlock, tmp_path: Path) -> None:
    if block.page == "docs/training.md":
        recipes.parse(tomllib.loads(block.text), str(block))
    else:
        (tmp_path / "harexport.toml").write_text(block.text, "utf-8")
        assert config.load_config(tmp_path / "harexport.toml").contract.labels == ("sit", "walk", "jump")


@pytest.mark.parametrize("block", code_blocks("yaml"), ids=str)
def test_yaml_is_valid(block: CodeBlock) -> None:
    """The workflow parses, and its harexport commands are valid."""
    workflow = yaml.safe_load(block.text)
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    for step in steps:
        if step.startswith("harexport "):
            test_shell_command_is_valid(str(block), step.replace("\n", " "))


@pytest.mark.parametrize("block", code_blocks("json"), ids=str)
def test_json_is_valid(block: CodeBlock) -> None:
    """A block is a document or a part of one; a contract is complete."""
    text = block.text.strip().rstrip(",")
    content = json.loads(text if text.startswith(("{", "[")) else f"{{{text}}}")
    if "contract_version" in content:
        Contract.from_dict(content, str(block))


@pytest.mark.parametrize("block", code_blocks("csv"), ids=str)
def test_csv_is_readable(block: CodeBlock, tmp_path: Path) -> None:
    """The header is that of the plain layout."""
    path = tmp_path / "recording.csv"
    path.write_text(block.text, "utf-8")
    assert len(reader.read_recording(path).tracks) == 2
