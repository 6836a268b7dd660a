"""Ctrl-C and SIGTERM end every command in one word, with exit code 130 and without half files."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from harexport.cli import main
from harexport.exporters import checks
from harexport.utils.interrupts import interruptible

ROOT = Path(__file__).resolve().parents[1]
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def nothing_is_ignored() -> Iterator[None]:
    """Whatever started the tests may ignore Ctrl-C, as a shell does for what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _export(official_path: Path, out: Path) -> tuple[int, str]:
    checkpoint = ROOT / "artifacts" / "edge" / "edge.safetensors"
    result = CliRunner().invoke(main, ["export", str(checkpoint), "--data", str(official_path), "--out", str(out)])
    return result.exit_code, result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_nothing_behind(
    official_path: Path, tmp_path: Path, monkeypatch: Patch, number: signal.Signals
) -> None:
    there: list[Path] = []

    def interrupted(*_: object) -> None:
        there.extend(tmp_path.iterdir())  # the file that is being looked at has a temporary name
        os.kill(os.getpid(), number)

    monkeypatch.setattr(checks, "check", interrupted)
    code, said = _export(official_path, tmp_path)
    assert (code, said.splitlines()[-1]) == (130, "Interrupted.")
    assert len(there) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [ImportError, SystemError, OSError, RuntimeError])
def test_what_a_library_makes_of_ctrl_c_is_ctrl_c(
    official_path: Path, tmp_path: Path, monkeypatch: Patch, kind: type[Exception]
) -> None:
    def interrupted(*_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as error:
            raise kind("half imported") from error

    monkeypatch.setattr(checks, "check", interrupted)
    code, said = _export(official_path, tmp_path)
    assert (code, said.splitlines()[-1]) == (130, "Interrupted.")


def test_other_errors_stay_what_they_are(official_path: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(checks, "check", broken)
    checkpoint = ROOT / "artifacts" / "edge" / "edge.safetensors"
    arguments = ["export", str(checkpoint), "--data", str(official_path), "--out", str(tmp_path)]
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_handlers_come_and_go() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with interruptible() as outer:
        held = [signal.getsignal(number) for number in numbers]
        with interruptible() as inner, pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert [signal.getsignal(number) for number in numbers] == held
        assert inner is outer
        assert outer.asked
    assert [signal.getsignal(number) for number in numbers] == before


def test_what_a_library_left_is_replaced_and_comes_back() -> None:
    """Ray leaves a handler of SIGTERM that ends the process."""
    called: list[int] = []

    def theirs(number: int, frame: object) -> None:
        called.append(number)

    before = signal.signal(signal.SIGTERM, theirs)
    try:
        with pytest.raises(KeyboardInterrupt), interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is theirs
        assert called == []
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ignored_signals_stay_ignored_and_threads_change_none() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    seen: list[bool] = []
    held = signal.getsignal(signal.SIGTERM)

    def elsewhere() -> None:
        with interruptible():
            seen.append(signal.getsignal(signal.SIGTERM) is held)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [True]
