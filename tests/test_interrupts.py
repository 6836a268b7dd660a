"""Ctrl-C and SIGTERM end every command with exit code 130 and without partial files."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from harexport.cli import main
from harexport.exporters import export as exporter

pytestmark = pytest.mark.serial  # signals do not reach the tests in a worker process of pytest-xdist
ROOT = Path(__file__).resolve().parents[1]
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def nothing_is_ignored() -> Iterator[None]:
    """Set Python's handler of SIGINT: a shell ignores Ctrl-C for what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _export(uci_har_path: Path, out: Path) -> tuple[int, str]:
    checkpoint = ROOT / "artifacts" / "edge" / "edge.safetensors"
    result = CliRunner().invoke(main, ["export", str(checkpoint), "--data", str(uci_har_path), "--out", str(out)])
    return result.exit_code, result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_export_writes_nothing(
    uci_har_path: Path, tmp_path: Path, monkeypatch: Patch, number: signal.Signals
) -> None:
    there: list[Path] = []

    def interrupted(*_: object) -> None:
        there.extend(tmp_path.iterdir())  # the file that is being checked has a temporary name
        os.kill(os.getpid(), number)

    monkeypatch.setattr(exporter, "check_exported_model", interrupted)
    code, message = _export(uci_har_path, tmp_path)
    assert (code, message.splitlines()[-1]) == (130, "Interrupted.")
    assert len(there) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [ImportError, SystemError, OSError, RuntimeError])
def test_interrupt_hidden_in_another_error(
    uci_har_path: Path, tmp_path: Path, monkeypatch: Patch, kind: type[Exception]
) -> None:
    def interrupted(*_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as error:
            raise kind("half imported") from error

    monkeypatch.setattr(exporter, "check_exported_model", interrupted)
    code, message = _export(uci_har_path, tmp_path)
    assert (code, message.splitlines()[-1]) == (130, "Interrupted.")


def test_other_errors_are_raised(uci_har_path: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(exporter, "check_exported_model", broken)
    checkpoint = ROOT / "artifacts" / "edge" / "edge.safetensors"
    arguments = ["export", str(checkpoint), "--data", str(uci_har_path), "--out", str(tmp_path)]
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_the_handler_of_sigterm_is_restored(monkeypatch: Patch) -> None:
    called: list[int] = []

    def own_handler(number: int, frame: object) -> None:
        called.append(number)

    handlers: list[object] = []
    monkeypatch.setattr(click.Group, "invoke", lambda self, ctx: handlers.append(signal.getsignal(signal.SIGTERM)))
    before = signal.signal(signal.SIGTERM, own_handler)
    try:
        CliRunner().invoke(main, ["data"])
        assert handlers == [signal.default_int_handler]
        assert signal.getsignal(signal.SIGTERM) is own_handler
        assert called == []
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_ignored_sigterm_stays_ignored_and_threads_set_no_handler(monkeypatch: Patch) -> None:
    handlers: list[object] = []
    monkeypatch.setattr(click.Group, "invoke", lambda self, ctx: handlers.append(signal.getsignal(signal.SIGTERM)))
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        CliRunner().invoke(main, ["data"])
        assert handlers == [signal.SIG_IGN]
    finally:
        signal.signal(signal.SIGTERM, before)
    thread = threading.Thread(target=CliRunner().invoke, args=(main, ["data"]))
    thread.start()
    thread.join()
    assert handlers == [signal.SIG_IGN, before]
