"""Interrupted runs are saved and resumed bit for bit, also after SIGTERM and on a full disk."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from harexport.cli import _interrupt_on_sigterm
from harexport.data import Dataset
from harexport.errors import InputError
from harexport.training.history import LogEntry, TrainerState
from harexport.training.resume import ResumableRun, compute_digest, lock_run
from harexport.training.train import resume_path, train
from harexport.utils import files

from .conftest import small_recipe

Patch = pytest.MonkeyPatch


def _interrupt(monkeypatch: Patch, reports: int, how: Callable[[], None]) -> None:
    """Call `how` after a number of log entries."""
    original, seen = ResumableRun.reporter, []

    def impatient(self: ResumableRun, phase: str) -> Callable[[LogEntry, TrainerState, int], None]:
        report = original(self, phase)

        def counting(row: LogEntry, state: TrainerState, steps: int) -> None:
            report(row, state, steps)
            seen.append(row)
            if len(seen) == reports:
                how()

        return counting

    monkeypatch.setattr(ResumableRun, "reporter", impatient)


def _ctrl_c() -> None:
    raise KeyboardInterrupt


def _interrupted(small: Dataset, out: Path, monkeypatch: Patch, reports: int = 2) -> Path:
    """Return the state file of an interrupted run in `out`."""
    with monkeypatch.context() as patch:
        _interrupt(patch, reports, _ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            train(small, small_recipe(), out)
    return resume_path(out, small_recipe())


@pytest.fixture(scope="module")
def state_file(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The state file of an interrupted run."""
    with pytest.MonkeyPatch.context() as patch:
        return _interrupted(small, tmp_path_factory.mktemp("interrupted"), patch).read_bytes()


@pytest.fixture(scope="module")
def whole(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The checkpoint of an uninterrupted run."""
    return train(small, small_recipe(), tmp_path_factory.mktemp("whole")).path.read_bytes()


@pytest.mark.parametrize("reports", [1, 2, 4, 5])
def test_resumed_run_has_the_same_bytes(
    small: Dataset, whole: bytes, tmp_path: Path, monkeypatch: Patch, reports: int, capsys: pytest.CaptureFixture[str]
) -> None:
    state = _interrupted(small, tmp_path, monkeypatch, reports)
    assert f"The run is saved in {state}. Resume it with: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["small.resume.pt"]
    resumed = train(small, small_recipe(), tmp_path, resume=True)
    assert resumed.path.read_bytes() == whole
    assert list(resumed.phase_seconds) == ["held-out pass", "all subjects"]
    assert not state.exists()


@pytest.mark.serial
def test_sigterm_saves_the_run(small: Dataset, whole: bytes, tmp_path: Path, monkeypatch: Patch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        _interrupt(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(KeyboardInterrupt), _interrupt_on_sigterm():
            train(small, small_recipe(), tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before
    assert train(small, small_recipe(), tmp_path, resume=True).path.read_bytes() == whole


def test_printed_command_resumes_the_run(uci_har_path: Path, tmp_path: Path) -> None:
    recipe, out = tmp_path / "my recipe.toml", tmp_path / "my out"
    recipe.write_text(
        'name = "mine"\n[model]\nhidden = 8\ninput_units = 8\n[schedule]\nepochs = 3\nreport_windows = 640\n'
    )
    command = [sys.executable, "-m", "harexport", "train", "--recipe", str(recipe), "--data", str(uci_har_path)]
    options = ["--out", str(out), "--seed", "3", "--device", "cpu", "--json"]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stderr
        for line in child.stderr:
            if line.startswith("epoch"):
                child.terminate()
                break
        rest = child.stderr.read()
        assert child.wait() == 130, rest
    (printed,) = [line.split("Resume it with: ")[1] for line in rest.splitlines() if "Resume it with: " in line]
    again = shlex.split(printed)
    assert again[:4] == ["python", "-m", "harexport", "train"]
    assert sorted(again) == sorted(["python", "-m", "harexport", *command[3:], *options, "--resume"])
    end = subprocess.run([sys.executable, *again[1:]], capture_output=True, text=True)
    assert end.returncode == 0, end.stderr
    assert '"all subjects": ' in end.stdout  # the seconds of each pass
    assert (out / "mine.safetensors").exists()
    assert not (out / "mine.resume.pt").exists()


def test_interrupted_after_the_last_epoch(small: Dataset, whole: bytes, tmp_path: Path, monkeypatch: Patch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("harexport.training.report.plot_results", lambda *_: _ctrl_c())
        with pytest.raises(KeyboardInterrupt):
            train(small, small_recipe(), tmp_path)
    assert train(small, small_recipe(), tmp_path, resume=True).path.read_bytes() == whole


def test_interrupted_before_the_first_entry(
    small: Dataset, tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harexport.training.trainer.fit", lambda *_, **__: _ctrl_c())
    with pytest.raises(KeyboardInterrupt):
        train(small, small_recipe(), tmp_path)
    assert "nothing to save before the first line" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_resume_with_other_settings_is_refused(small: Dataset, tmp_path: Path, monkeypatch: Patch) -> None:
    with pytest.raises(InputError, match=r"nothing to resume.*Start without --resume"):
        train(small, small_recipe(), tmp_path, resume=True)
    (tmp_path / "small.safetensors").write_bytes(b"finished")
    with pytest.raises(InputError, match=r"nothing to resume: .*small\.safetensors is of a finished run"):
        train(small, small_recipe(), tmp_path, resume=True)
    (tmp_path / "small.safetensors").unlink()
    state = _interrupted(small, tmp_path, monkeypatch)
    kept = state.read_bytes()
    with pytest.raises(InputError, match=r"another run: recipe\.schedule\.epochs 3, not 4\. Resume it"):
        train(small, small_recipe(schedule={"epochs": 4}), tmp_path, resume=True)
    with pytest.raises(InputError, match="another run: seed 0, not 1"):
        train(small, small_recipe(), tmp_path, seed=1, resume=True)
    with pytest.raises(InputError, match=r"another run: data .*, not ffff"):
        train(replace(small, digest="f" * 64), small_recipe(), tmp_path, resume=True)
    with pytest.raises(InputError, match="another run: watch_test False, not True"):
        train(small, small_recipe(), tmp_path, watch_test=True, resume=True)
    other = msgspec.structs.replace(small_recipe(), name="other")
    with pytest.raises(
        InputError, match=r"other\.resume\.pt does not exist.*Interrupted runs in .*: small\.resume\.pt"
    ):
        train(small, other, tmp_path, resume=True)
    assert state.read_bytes() == kept
    assert [path.name for path in tmp_path.iterdir()] == ["small.resume.pt"]
    state.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(InputError, match="cannot be resumed"):
        train(small, small_recipe(), tmp_path, resume=True)
    assert state.read_bytes() == kept[: len(kept) // 2]


def _save(content: dict[str, Any], path: Path) -> None:
    """Write a changed state with its digest, so that its values are checked themselves."""
    content = {key: value for key, value in content.items() if key != "sha256"}
    torch.save({**content, "sha256": compute_digest(content)}, path)


def test_state_of_other_shapes_is_refused(small: Dataset, tmp_path: Path, monkeypatch: Patch) -> None:
    state = _interrupted(small, tmp_path, monkeypatch)
    saved = torch.load(state, weights_only=True)
    for damage in ({"model": {}}, {"optimizer": {}}):
        states = {name: {**saved_state, **damage} for name, saved_state in saved["states"].items()}
        _save({**saved, "states": states}, state)
        with pytest.raises(InputError, match="does not fit this recipe"):
            train(small, small_recipe(), tmp_path, resume=True)
    for damage in ({"fingerprint": []}, {"finished": 3}, {"seconds": None}, {"states": 5}):
        _save({**saved, **damage}, state)
        with pytest.raises(InputError, match="cannot be resumed"):
            train(small, small_recipe(), tmp_path, resume=True)


def _set(value: Any, *path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(saved: dict[str, Any]) -> None:
        for key in path[:-1]:
            saved = saved[key]  # type: ignore[index]
        saved[path[-1]] = value  # type: ignore[index]

    return change


_STATE = ("states", "held-out pass")


@pytest.mark.parametrize(
    "damage",
    [
        _set(10**9, *_STATE, "step"), _set(-1, *_STATE, "step"), _set(0, *_STATE, "step"), _set("3", *_STATE, "step"),
        _set(True, *_STATE, "step"), _set([], *_STATE, "history"), _set([{"windows": "x"}], *_STATE, "history"),
        _set([], *_STATE, "average"), _set(torch.zeros(3), *_STATE, "average", 0), _set(5, *_STATE, "average", 0),
        _set(torch.zeros(3), *_STATE, "model", "head.bias"), _set({}, *_STATE, "optimizer", "head", "state", 0),
        _set(torch.zeros(3), *_STATE, "optimizer", "head", "state", 0, "exp_avg"),
        _set(torch.tensor(0.5), *_STATE, "optimizer", "head", "state", 0, "exp_avg"),
        _set(torch.tensor(-5.0), *_STATE, "optimizer", "head", "state", 0, "step"),
        _set(torch.tensor(1j), *_STATE, "optimizer", "head", "state", 0, "step"),
        _set(-torch.ones(6), *_STATE, "optimizer", "head", "state", 9, "exp_avg_sq"),
        _set({}, *_STATE, "optimizer", "head", "state", 99), _set([], *_STATE, "optimizer", "head", "param_groups"),
        _set("fast", *_STATE, "optimizer", "head", "param_groups", 0, "betas"), _set({}, "seconds"),
        _set({"held-out pass": -1.0}, "seconds"), _set("1", "elapsed"), _set(float("nan"), "elapsed"),
        _set({"held-out pass": {"history": [], "held_out_logits": 3}}, "finished"),
        _set({"held-out pass": {"history": [], "held_out_logits": torch.zeros(2, 6).double()}}, "finished"),
        _set({"all subjects": {"history": [], "held_out_logits": None}}, "finished"), _set([], "states"),
    ],
)  # fmt: skip
def test_odd_values_in_the_state_file(
    small: Dataset, state_file: bytes, tmp_path: Path, damage: Callable[[dict[str, Any]], None], whole: bytes
) -> None:
    path = tmp_path / "small.resume.pt"
    path.write_bytes(state_file)
    saved = torch.load(path, weights_only=True)
    damage(saved)
    _save(saved, path)
    try:
        assert train(small, small_recipe(), tmp_path, resume=True).path.read_bytes() == whole
    except InputError as error:
        assert "start without --resume" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "damage",
    [
        _set(torch.zeros(6), *_STATE, "model", "head.bias"),
        _set(torch.tensor(3.0), *_STATE, "optimizer", "head", "state", 0, "step"),
        _set(0.99, *_STATE, "history", 0, "accuracy"), _set(5.0, "elapsed"), _set("0" * 64, "sha256"),
    ],
)  # fmt: skip
def test_plausible_values_in_the_state_file_are_refused(
    small: Dataset, state_file: bytes, tmp_path: Path, damage: Callable[[dict[str, Any]], None]
) -> None:
    """Values that are valid, but not those of the interrupted run."""
    path = tmp_path / "small.resume.pt"
    path.write_bytes(state_file)
    saved = torch.load(path, weights_only=True)
    damage(saved)
    torch.save(saved, path)
    with pytest.raises(InputError, match=r"content was changed or is damaged\); start without --resume"):
        train(small, small_recipe(), tmp_path, resume=True)


def test_new_run_replaces_an_interrupted_one(
    small: Dataset, tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = _interrupted(small, tmp_path, monkeypatch)
    saved = state.read_bytes()
    with pytest.raises(InputError):  # a run that is refused replaces nothing
        train(small, small_recipe(validation={"subjects": [1, 3]}), tmp_path)
    assert state.read_bytes() == saved
    train(small, small_recipe(), tmp_path, seed=1)
    assert f"replaces the interrupted run in {state}" in capsys.readouterr().err
    assert not state.exists()


def _full(monkeypatch: Patch, *names: str) -> None:
    """Simulate a disk that is full when a file whose name ends in one of `names` is written."""
    original = files.atomic_write

    @contextlib.contextmanager
    def replacing(path: Path) -> Iterator[Path]:
        with original(path) as temporary:
            yield temporary
            if str(path).endswith(names):
                raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "atomic_write", replacing)


@pytest.mark.figures
@pytest.mark.parametrize(
    "name", ["small.safetensors", "history.json", "history.csv", "curves.png", "confusion.png", "reliability.png"]
)
def test_full_disk_at_the_end(small: Dataset, whole: bytes, tmp_path: Path, monkeypatch: Patch, name: str) -> None:
    earlier = train(small, small_recipe(), tmp_path, seed=1).path.read_bytes()
    pictures = {path: path.read_bytes() for path in tmp_path.glob(f"*{name}")}
    with monkeypatch.context() as patch:
        _full(patch, name)
        with pytest.raises(
            InputError, match=r"No space left on device\. The run is saved in .*Resume it with: harexport x"
        ):
            train(small, small_recipe(), tmp_path, resume_command="harexport x")
    assert {path: path.read_bytes() for path in pictures} == pictures
    assert (tmp_path / "small.safetensors").read_bytes() in (earlier, whole)
    assert not list(tmp_path.glob(".*"))
    assert train(small, small_recipe(), tmp_path, resume=True).path.read_bytes() == whole


def test_full_disk_does_not_end_the_training(
    small: Dataset, whole: bytes, tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harexport.training.resume._SAVE_INTERVAL_S", 0.0)
    _full(monkeypatch, "resume.pt")
    assert train(small, small_recipe(), tmp_path).path.read_bytes() == whole
    assert capsys.readouterr().err.count("No space left on device. Training continues") == 1


def test_nothing_can_be_saved(small: Dataset, tmp_path: Path, monkeypatch: Patch) -> None:
    _full(monkeypatch, "resume.pt", "safetensors")
    with pytest.raises(InputError, match=r"small\.safetensors: No space.*This run cannot be resumed"):
        train(small, small_recipe(), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_earlier_state_remains_if_the_last_one_cannot_be_saved(
    small: Dataset, whole: bytes, tmp_path: Path, monkeypatch: Patch
) -> None:
    with monkeypatch.context() as patch:
        _interrupt(patch, 3, lambda: _full(patch, "out/small.resume.pt", "safetensors"))
        with pytest.raises(InputError, match=r"An earlier state is saved in .*small\.resume\.pt\. Free some space"):
            train(small, small_recipe(), tmp_path / "out")
    assert train(small, small_recipe(), tmp_path / "out", resume=True).path.read_bytes() == whole


def test_second_training_in_the_same_folder_is_refused(small: Dataset, tmp_path: Path) -> None:
    with (
        lock_run(tmp_path / ".small.lock"),
        pytest.raises(InputError, match="another process is training this recipe"),
    ):
        train(small, small_recipe(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".small.lock").touch()  # left by a killed process
    train(small, small_recipe(schedule={"epochs": 1}), tmp_path)
    assert not (tmp_path / ".small.lock").exists()
