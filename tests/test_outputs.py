"""Outputs never replace inputs, for every command; a data folder is no output folder; no control characters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from harexport.cli import main
from harexport.commands import options
from harexport.errors import InputError
from tests.helpers import third_party_models
from tests.preprocessing.motion import regular, walking
from tests.preprocessing.phones import plain


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "{file}", "--picture", "{file}"],
        ["predict", "{file}", "--model", "{model}", "--picture", "{model}"],
        ["bench", "{model}", "--html", "{model}"],
        ["bench", "{folder}", "--html", "{model}"],
        ["bench", "{model}", "--markdown", "{model}"],
        ["bench", "{model}", "--baseline", "{file}", "--fail-if", "size>1KB", "--html", "{file}"],
    ],
)
def test_an_output_is_no_input(arguments: list[str], tmp_path: Path) -> None:
    file, model = tmp_path / "walk.csv", tmp_path / "model.onnx"
    file.write_text("time,x\n1,2\n")
    model.write_bytes(third_party_models.onnx())
    before = file.read_bytes(), model.read_bytes()
    paths = {"file": file, "model": model, "folder": tmp_path}
    result = CliRunner().invoke(main, [argument.format(**paths) for argument in arguments])
    assert result.exit_code == 2, result.output
    assert "is an input of this command" in result.stderr
    assert (file.read_bytes(), model.read_bytes()) == before


@pytest.mark.parametrize("command", ["train", "crossval", "sweep", "demo"])
def test_tables_are_not_written_into_a_folder_of_recordings(command: str, tmp_path: Path) -> None:
    (tmp_path / "harexport.toml").write_text("")
    for out in (tmp_path, tmp_path / "results"):
        grid = ["--grid", str(tmp_path / "grid.toml")] if command == "sweep" else []
        arguments = [command, "--data", str(tmp_path), "--out", str(out), *grid]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2, result.output
        assert "is in the data folder" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["harexport.toml"]


def test_json_output_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    options.print_result({"value": float("nan"), "values": [float("inf"), 1.0]}, True, "")
    assert json.loads(capsys.readouterr().out) == {"value": None, "values": [None, 1.0]}


def test_text_output_has_no_control_characters(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options.print_result({}, False, "label \x1b]8;;http://x\x07 \x1b[31mred")
    options.print_error("file \x1b[2J")
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    result = CliRunner().invoke(main, ["inspect", str(tmp_path / "\x1b[2Jmodel.onnx")])
    assert result.exit_code == 2
    assert "\x1b" not in result.output


def test_a_very_long_value_is_not_repeated(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["bench", str(tmp_path), "--fail-if", "x" * 100_000])
    assert result.exit_code == 2
    assert len(result.stderr) < 3000


_needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")


def _run_in_shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "walk.csv").write_text(plain(regular(9.0, 50), *walking(regular(9.0, 50))))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    program = f'"{sys.executable}" -m harexport '
    return subprocess.run(program + command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)


@_needs_full_device
@pytest.mark.parametrize(
    "command",
    ["predict --no-picture walk.csv", "predict --no-picture --json walk.csv", "predict --follow < walk.csv"],
)
def test_standard_output_on_a_full_disk(command: str, tmp_path: Path) -> None:
    result = _run_in_shell(f"{command} > /dev/full", tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == (
        "Error: cannot write to standard output: No space left on device; its file is incomplete"
    )


@_needs_full_device
def test_messages_on_a_full_disk_end_nothing(tmp_path: Path) -> None:
    result = _run_in_shell("predict --no-picture walk.csv 2> /dev/full", tmp_path)
    assert result.returncode == 0
    assert "walk.csv" in result.stdout
    assert _run_in_shell("predict gone.csv 2> /dev/full", tmp_path).returncode == 2


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes descriptors")
def test_an_error_with_closed_standard_output(tmp_path: Path) -> None:
    result = _run_in_shell(f"predict {'a' * 300}/x.csv >&-", tmp_path)
    assert result.returncode == 2
    assert "File name too long" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_prediction_whose_picture_cannot_be_written_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = tmp_path / "walk.csv"
    walk.write_text(plain(regular(9.0, 50), *walking(regular(9.0, 50))))

    def fail(*_: object) -> None:
        raise InputError("could not write x.png: No space left on device")

    monkeypatch.setattr("harexport.predict.report.plot_timeline", fail)
    result = CliRunner().invoke(main, ["predict", str(walk), "--json", "--picture", str(tmp_path / "x.png")])
    assert result.exit_code == 2
    assert json.loads(result.stdout)["picture"] is None
    assert result.stderr.splitlines()[-1] == "Error: could not write x.png: No space left on device"
