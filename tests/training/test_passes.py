"""Passes side by side in two processes give the same files as one after another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harexport.data import Dataset
from harexport.errors import CheckFailedError
from harexport.training import passes
from harexport.training.resume import ResumableRun
from harexport.training.train import resume_path, train

from .conftest import small_recipe

Patch = pytest.MonkeyPatch


@pytest.fixture
def side_by_side(monkeypatch: Patch) -> None:
    """Run short passes side by side too, on any number of cores."""
    monkeypatch.setattr(passes, "MIN_PARALLEL_WINDOWS", 0)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)


def test_same_bytes_side_by_side_and_in_sequence(small: Dataset, tmp_path: Path, monkeypatch: Patch) -> None:
    sequential = train(small, small_recipe(), tmp_path / "a")
    monkeypatch.setattr(passes, "MIN_PARALLEL_WINDOWS", 0)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    parallel = train(small, small_recipe(), tmp_path / "b", tensorboard=True)
    assert parallel.path.read_bytes() == sequential.path.read_bytes()
    assert list(parallel.phase_seconds) == list(sequential.phase_seconds) == ["held-out pass", "all subjects"]
    assert parallel.report == sequential.report
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {path.name for path in (tmp_path / "b").iterdir()} - {"small.tensorboard"}
    for name in names - {"small.history.json"}:  # it contains times
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert len(list((tmp_path / "b" / "small.tensorboard").glob("*/events*"))) == 2


@pytest.mark.parametrize("reports", [1, 3])
def test_interrupted_run_resumes_to_the_same_bytes(
    small: Dataset, tmp_path: Path, monkeypatch: Patch, reports: int, side_by_side: None
) -> None:
    whole = train(small, small_recipe(), tmp_path / "whole").path.read_bytes()
    reporter, seen = ResumableRun.reporter, []

    def interrupting(self: ResumableRun, name: str):  # type: ignore[no-untyped-def]
        report = reporter(self, name)

        def count(*entry: object) -> None:
            report(*entry)  # type: ignore[arg-type]
            seen.append(entry)
            if len(seen) == reports:
                raise KeyboardInterrupt

        return count

    before = set(multiprocessing.active_children())  # joblib keeps the processes of another test for its next trials
    with monkeypatch.context() as patch:
        patch.setattr(ResumableRun, "reporter", interrupting)
        with pytest.raises(KeyboardInterrupt):
            train(small, small_recipe(), tmp_path / "out")
    assert set(multiprocessing.active_children()) <= before
    assert resume_path(tmp_path / "out", small_recipe()).exists()
    assert train(small, small_recipe(), tmp_path / "out", resume=True).path.read_bytes() == whole


def test_error_in_the_child_process_is_raised_here(small: Dataset, tmp_path: Path, side_by_side: None) -> None:
    with pytest.raises(CheckFailedError, match=r"not a number.*learning_rate"):
        train(small, small_recipe(optimizer={"l2": 1e38, "clip_norm": 0}), tmp_path)


def test_killed_child_process_does_not_end_the_run(
    small: Dataset, tmp_path: Path, monkeypatch: Patch, side_by_side: None, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(small, small_recipe(), tmp_path / "whole").path.read_bytes()
    wait = passes._Background.wait
    before = set(multiprocessing.active_children())

    def kill_and_wait(self: passes._Background) -> passes.PassResult:
        for child in set(multiprocessing.active_children()) - before:
            assert child.pid
            os.kill(child.pid, signal.SIGKILL)
        return wait(self)

    monkeypatch.setattr(passes._Background, "wait", kill_and_wait)
    monkeypatch.setattr(passes._Background, "poll", lambda self: None)
    assert train(small, small_recipe(), tmp_path / "out").path.read_bytes() == whole
    assert capsys.readouterr().err.count("its pass continues in this process") <= 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_child_processes_hold_back_signals() -> None:
    from joblib.externals.loky.backend import get_context

    process = get_context("loky").Process(target=time.sleep, args=(60,), daemon=True)
    with passes.blocked_signals():
        process.start()
    status = Path(f"/proc/{process.pid}/status").read_text()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (blocked,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk")]
    for number in (signal.SIGINT, signal.SIGTERM):
        assert blocked >> (number - 1) & 1
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_to_all_processes_saves_both_passes(uci_har_path: Path, tmp_path: Path, number: signal.Signals) -> None:
    """A terminal sends Ctrl-C to the whole process group; the child must not die from it."""
    recipe, out = tmp_path / "mine.toml", tmp_path / "out"
    recipe.write_text("[model]\nhidden = 8\ninput_units = 8\n[schedule]\nepochs = 400\n[validation]\nsubjects = [3]\n")
    command = [sys.executable, "-m", "harexport", "train", "--recipe", str(recipe), "--data", str(uci_har_path)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell job ignores Ctrl-C
    try:
        child = subprocess.Popen(
            [*command, "--out", str(out), "--device", "cpu"], stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    seen: set[str] = set()
    with child:
        assert child.stderr
        for line in child.stderr:
            seen |= {name for name in ("held-out pass", "all subjects") if line.startswith("epoch") and name in line}
            if len(seen) == 2 or "all subjects, 0 s left" in line:
                os.killpg(child.pid, number)
                break
        rest = child.stderr.read()
        assert child.wait(60) == 130, rest
    assert "The run is saved in" in rest
    assert "Traceback" not in rest
    assert (out / "mine.resume.pt").exists()
    time.sleep(0.2)
    states = subprocess.run(["ps", "-o", "stat=", "-g", str(child.pid)], capture_output=True, text=True).stdout
    assert all(state.startswith("Z") for state in states.split()), "a process is still running"
