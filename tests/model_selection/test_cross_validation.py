"""Cross-validation: processes, cache, failures, tables and interrupts."""

from __future__ import annotations

import csv
import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harexport.data import Dataset
from harexport.errors import InputError
from harexport.model_selection import parallel
from harexport.model_selection.cross_validation import cross_validate, format_cross_validation
from harexport.model_selection.parallel import Execution
from harexport.model_selection.trials import Trial, TrialCache, TrialResult, run_trial
from tests.model_selection.conftest import quick
from tests.test_cli import harexport

_TOML = """
name = "quick"
[model]
hidden = 8
input_units = 8
[schedule]
epochs = {epochs}
[validation]
subjects = []
"""


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_tables_and_cached_trials(people: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, where = quick(), Execution(jobs=2)
    result = cross_validate(people, recipe, tmp_path / "a", "2", (0, 1), where)
    assert [run.held_out for run in result.trials] == [(1, 5), (1, 5), (3, 6), (3, 6)]
    assert result.failures == ()
    # another process computes the same, bit for bit
    again = run_trial(people, result.trials[3])
    assert dataclasses.replace(again, seconds=0) == dataclasses.replace(result.results[3], seconds=0)

    rows = _rows(result.tables[0])
    assert [(row["fold"], row["held_out"], row["seed"]) for row in rows][1:3] == [
        ("0", "1; 5", "1"),
        ("1", "3; 6", "0"),
    ]
    assert [float(row["accuracy"]) for row in rows] == [of.scores.accuracy for of in result.results if of.scores]
    assert {row["subject"] for row in _rows(result.tables[1])} == {"1", "3", "5", "6"}
    document = json.loads(result.tables[2].read_text())
    accuracies = [float(row["accuracy"]) for row in rows]
    assert document["summary"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert document["summary"]["accuracy"]["std"] == pytest.approx(np.std(accuracies, ddof=1))
    assert "4 of 4 trials; the test set was not used" in format_cross_validation(result)

    # one file gone: one run is done again, and everything ends in the same bytes
    kept = sorted((tmp_path / "a" / "quick.runs").iterdir())
    assert len(kept) == 4
    before = {path: path.read_bytes() for path in result.tables}
    times = {path: path.stat().st_mtime_ns for path in kept}
    kept[2].unlink()
    capsys.readouterr()
    cross_validate(people, recipe, tmp_path / "a", "2", (0, 1), where)
    assert "3 of 4 trials are finished already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in result.tables} == before
    assert [path.stat().st_mtime_ns == times[path] for path in kept] == [True, True, False, True]


def test_failed_trials(uci_har_path: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "quick.toml"
    recipe.write_text(_TOML.format(epochs=1) + "[optimizer]\nl2 = 1e38\n")
    arguments = [
        "crossval",
        "--recipe",
        recipe,
        "--folds",
        "2",
        "--jobs",
        "1",
        "--data",
        uci_har_path,
        "--out",
        tmp_path,
        "--json",
    ]
    for _ in range(2):  # the second time from what is kept
        result = harexport(*arguments)
        assert result.exit_code == 1, result.output
        document = json.loads(result.stdout)
        assert document["summary"]["accuracy"]["mean"] is None
        assert len(document["failures"]) == 2
        assert "the loss is not a number" in result.stderr
    assert "2 of 2 trials are finished already" in result.stderr
    rows = _rows(tmp_path / "quick.crossval.csv")
    assert [row["accuracy"] for row in rows] == ["", ""]
    assert all("the loss is not a number" in row["error"] for row in rows)


def test_killed_process_ends_the_run_and_keeps_finished_trials(people: Dataset, tmp_path: Path) -> None:
    endless = Trial(quick(schedule={"epochs": 10**6}), (1,), 0)
    trials = [Trial(quick(), (1,), 1), Trial(quick(), (1,), 2), endless, endless]
    done: list[TrialResult] = []
    add = TrialCache.add

    def kill_after_two(self: TrialCache, trial: Trial, result: TrialResult) -> None:
        add(self, trial, result)
        done.append(result)
        if len(done) == 2:
            for process in multiprocessing.active_children():
                assert process.pid
                os.kill(process.pid, signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrialCache, "add", kill_after_two)
        with pytest.raises(InputError, match=r"a training process was killed.*fewer --jobs"):
            parallel.run_trials(people, trials, tmp_path, Execution(jobs=2))
    assert len(list(tmp_path.iterdir())) == 2


def test_closing_ends_the_processes(people: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no other programs, as in a slim container
    endless = [Trial(quick(schedule={"epochs": 10**6}), (1,), seed) for seed in range(3)]
    results = parallel.run_locally(people, [Trial(quick(), (1,), 0), *endless], 2)
    index, result = next(results)
    assert index == 0
    assert result.scores
    results.close()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_keeps_finished_trials(number: signal.Signals, uci_har_path: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "quick.toml"
    recipe.write_text(_TOML.format(epochs=2))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "harexport", "crossval", "--recipe", str(recipe), "--folds", "7", "--jobs", "2"]
    # a shell ignores Ctrl-C for what it runs in the background, and so would the child
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    environment = {**os.environ, "PATH": str(tmp_path)}  # no other programs, as in a slim container
    child = subprocess.Popen([*command, "--data", str(uci_har_path), "--out", str(out)], env=environment,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    signal.signal(signal.SIGINT, before)
    until = time.monotonic() + 300
    while not list(out.glob("quick.runs/*.json")) and child.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    child.send_signal(number)
    document, messages = child.communicate(timeout=60)
    assert child.returncode == 130, messages
    assert document == ""
    assert "Traceback" not in messages
    stand = len(list(out.glob("quick.runs/*.json")))
    assert 1 <= stand < 7
    assert (
        f"Interrupted. {stand} of 7 trials are saved in {out / 'quick.runs'}. Continue with the same command"
        in messages
    )
    assert sorted(path.name for path in out.iterdir()) == ["quick.runs"]


def test_invalid_input_is_refused_before_training(people: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="longer than a window of 128"):
        cross_validate(people, quick(model={"frame": 200}), tmp_path)
    one = dataclasses.replace(people, train=people.train.select_subjects([3]))
    with pytest.raises(InputError, match=r"1 subject.*at least two"):
        cross_validate(one, quick(), tmp_path)
    broken = people.train.signals.copy()
    broken[5, 7, 2] = np.nan
    with pytest.raises(InputError, match="hold NaN or infinity"):
        cross_validate(
            dataclasses.replace(people, train=dataclasses.replace(people.train, signals=broken)), quick(), tmp_path
        )
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "quick.runs").write_text("a file in the folder's place")
    with pytest.raises(InputError, match="cannot write"):
        cross_validate(people, quick(), tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--folds", "30"], "from 2 to 21"),
        (["--folds", "x"], "give loso or a number"),
        (["--seeds", "a"], "--seeds a: give numbers"),
        (["--jobs", "0"], "--jobs"),
        (["--jobs", "2", "--cluster", "auto"], "--jobs applies to this machine only"),
        (["--recipe", "egde"], "Did you mean edge"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, quick_toml: Path, uci_har_path: Path, tmp_path: Path) -> None:
    result = harexport("crossval", "--recipe", quick_toml, "--data", uci_har_path, "--out", tmp_path, *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_torch(quick_toml: Path, uci_har_path: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from harexport.cli import main; main()"
    for command in (["crossval"], ["sweep", "--grid", "model.hidden=3"]):
        child = subprocess.run(
            [
                sys.executable,
                "-c",
                code,
                *command,
                "--recipe",
                str(quick_toml),
                "--data",
                str(uci_har_path),
                "--out",
                str(tmp_path),
            ],
            capture_output=True,
            text=True,
        )
        assert child.returncode == 2, child.stderr
        assert "pip install -c constraints.txt '.[train]'" in child.stderr
    assert list(tmp_path.iterdir()) == []
