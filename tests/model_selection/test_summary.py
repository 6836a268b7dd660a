"""Summary of a cross-validation: means and standard errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harexport.model_selection.cross_validation import recall_by_label, scores_by_subject, summarize
from harexport.model_selection.trials import Scores, Trial, TrialResult, create_failure
from tests.model_selection.conftest import quick


def _outcome(values: dict[int, float]) -> TrialResult:
    subjects = {subject: Scores(10, value, value, 1 - value) for subject, value in values.items()}
    mean = float(np.mean(list(values.values())))
    return TrialResult(Scores(10 * len(values), mean, mean, 1 - mean), subjects, ((8, 2), (0, 0)), None, 1.0)


def test_summary() -> None:
    runs = [Trial(quick(), fold, seed) for fold in ((1, 3), (2, 4)) for seed in (0, 1)]
    outcomes = [_outcome(v) for v in ({1: 0.8, 3: 0.9}, {1: 0.9, 3: 1.0}, {2: 0.5, 4: 0.7}, {2: 0.6, 4: 0.8})]
    accuracy = summarize(runs, outcomes)["accuracy"]
    means = [0.85, 0.95, 0.6, 0.7]
    assert accuracy.mean == pytest.approx(0.775)
    assert accuracy.std == pytest.approx(np.std(means, ddof=1))
    people = [0.85, 0.95, 0.55, 0.75]  # 1, 3, 2, 4: each in the mean over both seeds
    assert accuracy.subject_error == pytest.approx(np.std(people, ddof=1) / 2)
    seeds = [0.725, 0.825]  # each in the mean over both folds
    assert accuracy.seed_error == pytest.approx(np.std(seeds, ddof=1) / math.sqrt(2))
    assert scores_by_subject(outcomes)[2] == Scores(10, 0.55, 0.55, 0.45)
    assert summarize(runs, outcomes)["cross_entropy"].mean == pytest.approx(0.225)
    assert recall_by_label(outcomes, ("a", "b")) == {"a": 0.8, "b": None}


def test_seed_error_predicts_the_variation_of_the_mean() -> None:
    """Large differences between folds, small ones between seeds: 400 repetitions with other seeds."""
    random = np.random.default_rng(0)
    runs = [Trial(quick(), (fold,), seed) for fold in range(5) for seed in range(3)]
    means, errors = [], []
    for _ in range(400):
        values = [0.5 + 0.1 * run.held_out[0] + random.normal(0, 0.01) for run in runs]
        of = summarize(runs, [_outcome({run.held_out[0]: value}) for run, value in zip(runs, values, strict=True)])
        means.append(of["accuracy"].mean)
        errors.append(of["accuracy"].seed_error)
    moved = np.std([mean for mean in means if mean is not None])
    assert np.sqrt(np.mean(np.square([error for error in errors if error]))) == pytest.approx(moved, rel=0.1)


def test_too_few_trials() -> None:
    run = Trial(quick(), (1,), 0)
    (of, *_) = summarize([run], [_outcome({1: 0.9})]).values()
    assert (of.mean, of.std, of.subject_error, of.seed_error) == (0.9, None, None, None)
    (of, *_) = summarize([run], [create_failure("gone")]).values()
    assert (of.mean, of.std, of.subject_error, of.seed_error) == (None, None, None, None)


def test_failed_trials_are_ignored() -> None:
    runs = [Trial(quick(), (fold,), 0) for fold in (1, 2, 3)]
    of = summarize(runs, [_outcome({1: 0.8}), create_failure("gone"), _outcome({3: 0.9})])["accuracy"]
    assert of.mean == pytest.approx(0.85)
    assert of.subject_error == pytest.approx(0.05)
