"""Messages and progress: silent in a library call, a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from harexport.utils import console


def test_a_log_gets_plain_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 11.0, 11.0, 12.0, 25.0, 25.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress("Parsing", 18, "files") as advance:
        advance(1)  # after 1 s: too soon for a line
        advance(6)  # after 11 s
        advance(7)
        advance(18)  # after 25 s
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "Parsing ...",
        "Parsing: 6 of 18 files, 11 s, 22 s left",
        "Parsing: 18 of 18 files, 25 s",
    ]


def test_bytes_are_shown_in_megabytes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 20.0, 20.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress("Downloading x", None, bytes_=True) as advance:
        advance(7_400_000)
    assert capsys.readouterr().err.splitlines()[-1] == "Downloading x: 7 MB, 20 s"


def test_nothing_is_printed_without_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.sys, "stderr", None)
    console.info("message")
    with console.progress("Latency", 4) as advance:
        advance(4)
    assert capsys.readouterr().out == ""


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(console.sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with console.progress("Latency", 40, "runs") as advance:
        advance(10)
        advance(40)
    shown = terminal.getvalue()
    assert "Latency" in shown
    assert "40/40" in shown


def test_an_error_passes_through_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.sys, "stderr", _Terminal())

    def fail() -> None:
        with console.progress("Latency", 40):
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()


def test_a_library_call_prints_nothing() -> None:
    code = """
from harexport.utils import console
console.info("a message")
with console.progress("Latency", 4) as advance:
    advance(4)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")


def test_messages_are_records_of_the_logger_harexport(caplog: pytest.LogCaptureFixture) -> None:
    console.info("100 % done")
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("harexport", "INFO", "100 % done")
    ]


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.info("name\x1b]0;title\x07\x1b[2J\x9b1m\r\u202e.csv\tü\n")
    assert capsys.readouterr().err == "name�]0;title��[2J�1m��.csv\tü\n\n"
    assert console.sanitize("\x1b[1;31mred\x1b[0m\x1b[2J", keep_colors=True) == "\x1b[1;31mred\x1b[0m�[2J"
