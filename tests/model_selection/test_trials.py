"""Trials: scores, errors and cache."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harexport.data import Dataset
from harexport.model.network import Network
from harexport.model.recipe import ValidationConfig
from harexport.model_selection.trials import Trial, TrialCache, create_failure, remove_test_windows, run_trial
from harexport.training.trainer import fit
from tests.model_selection.conftest import quick


def test_without_test(people: Dataset) -> None:
    alone = remove_test_windows(people)
    assert len(people.test) == 2947
    assert len(alone.test) == 0
    assert alone.train is people.train


def test_scores_of_held_out_windows(people: Dataset) -> None:
    run = Trial(quick(), (3, 6), 5)
    outcome = run_trial(people, run)
    scores = outcome.scores
    assert scores
    network, _ = fit(people.train.select_subjects([1, 5]), None, run.recipe, 6, 5)
    held_out = people.train.select_subjects([3, 6])
    logits = network.logits(held_out.signals)
    assert scores.windows == len(held_out)
    assert scores.accuracy == np.mean(logits.argmax(axis=1) == held_out.labels)
    powers = np.exp(logits)
    own = powers[np.arange(len(held_out)), held_out.labels] / powers.sum(axis=1)
    assert scores.cross_entropy == pytest.approx(-np.log(own).mean(), rel=1e-12)
    assert list(outcome.subjects) == [3, 6]
    for score in ("accuracy", "cross_entropy"):  # means over windows, so subjects add up to the whole
        parts = [getattr(of, score) * of.windows for of in outcome.subjects.values()]
        assert sum(parts) / scores.windows == pytest.approx(getattr(scores, score), rel=1e-12)
    assert np.sum(outcome.confusion) == len(held_out)
    assert np.trace(outcome.confusion) / len(held_out) == scores.accuracy


def test_macro_f1_ignores_labels_that_do_not_occur(people: Dataset) -> None:
    """A held-out subject with two of six labels, and a network that separates these two."""
    two = people.train.labels >= 4  # standing, laying
    train = dataclasses.replace(
        people.train,
        signals=people.train.signals[two],
        labels=people.train.labels[two],
        subjects=people.train.subjects[two],
    )
    only = dataclasses.replace(people, train=train)
    scores = run_trial(only, Trial(quick(schedule={"epochs": 12}), (1,), 0)).scores
    assert scores
    assert scores.accuracy > 0.9
    assert scores.macro_f1 > 0.9


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"optimizer": {"l2": 1e38}}, "the loss is not a number"),
        ({"model": {"frame": 200, "hop": 16}}, "longer than a window of 128"),
        ({"data": {"channels": ["body_acc_x", "total_acc_y"]}, "augment": {"rotation_deg": 0.0}}, None),
    ],
)
def test_errors_are_results(people: Dataset, sections: dict[str, dict[str, object]], words: str | None) -> None:
    outcome = run_trial(people, Trial(quick(**sections), (3,), 0))
    assert (outcome.error is None) == (words is None)
    assert words is None or words in (outcome.error or "")
    assert (outcome.scores is None) == (words is not None)
    assert outcome.final


def test_library_errors_are_one_line(people: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory\nframe #0: somewhere")

    monkeypatch.setattr(Network, "logits", full)
    outcome = run_trial(people, Trial(quick(), (3,), 0))
    assert outcome.error == "RuntimeError: DefaultCPUAllocator: can't allocate memory"
    assert not outcome.final


def test_cached_trials_are_found(people: Dataset, tmp_path: Path) -> None:
    kept, run = TrialCache(tmp_path, people), Trial(quick(), (3,), 0)
    outcome = run_trial(people, run)
    assert kept.find(run) is None
    kept.add(run, outcome)
    assert kept.find(run) == outcome
    # what has no part in a run makes no difference; everything else does
    renamed = msgspec.structs.replace(run.recipe, name="other", validation=ValidationConfig((1,)))
    assert kept.find(dataclasses.replace(run, recipe=renamed)) == outcome
    others = [
        dataclasses.replace(run, seed=1),
        dataclasses.replace(run, held_out=(3, 5)),
        dataclasses.replace(run, recipe=quick(model={"dropout": 0.3})),
    ]
    assert [kept.find(other) for other in others] == [None] * 3
    assert TrialCache(tmp_path, dataclasses.replace(people, digest="0" * 64)).find(run) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b'{"kind": "harexport-run"}', b"\xff\xfe", b"truncated"])
def test_damaged_cache_file(people: Dataset, tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    kept, run = TrialCache(tmp_path, people), Trial(quick(), (3,), 0)
    kept.add(run, dataclasses.replace(create_failure("x"), final=True))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == b"truncated" else damage)
    assert kept.find(run) is None
    assert "this trial is repeated" in capsys.readouterr().err


def test_cache_file_of_another_trial(people: Dataset, tmp_path: Path) -> None:
    kept, run = TrialCache(tmp_path, people), Trial(quick(), (3,), 0)
    other = dataclasses.replace(run, seed=1)
    error = dataclasses.replace(create_failure("diverged"), final=True)
    kept.add(run, error)
    (path,) = tmp_path.iterdir()
    kept.add(other, error)
    (path_of_other,) = set(tmp_path.iterdir()) - {path}
    path.write_bytes(path_of_other.read_bytes())
    assert kept.find(run) is None
    assert kept.find(other) == error
