"""Means over folds and seeds, and how far other people and other seeds would move them. Formulas with source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harexport.searching.runs import Outcome, Run, Scores

SCORES = ("accuracy", "macro_f1", "cross_entropy")


@dataclass(frozen=True)
class Summary:
    """Of one score over the runs that have one; None where there are too few to tell.

    mean, std: over folds and seeds, each run counting alike (sample standard deviation). subject_error: standard
    error of the mean over subjects, s / sqrt(n) with each subject's mean over seeds: how far other people would move
    it. seed_error: its standard error as far as seeds decide, s / sqrt(n) with each seed's mean over the folds (one
    seed starts from the same values in every fold, so its folds are not independent), of the seeds that have every
    fold: what the difference between two recipes on the same folds must beat.
    """

    mean: float | None
    std: float | None
    subject_error: float | None
    seed_error: float | None


def summaries(runs: Sequence[Run], outcomes: Sequence[Outcome]) -> dict[str, Summary]:
    """A summary of each of SCORES."""
    return {score: _summary(runs, outcomes, score) for score in SCORES}


def _summary(runs: Sequence[Run], outcomes: Sequence[Outcome], score: str) -> Summary:
    seeds: dict[int, list[float]] = {}
    for run, outcome in zip(runs, outcomes, strict=True):
        if outcome.scores:
            seeds.setdefault(run.seed, []).append(getattr(outcome.scores, score))
    values = [value for seed in seeds.values() for value in seed]
    folds = len({run.held_out for run in runs})
    whole = [float(np.mean(seed)) for seed in seeds.values() if len(seed) == folds]
    people = [getattr(of, score) for of in by_subject(outcomes).values()]
    return Summary(
        float(np.mean(values)) if values else None,
        float(np.std(values, ddof=1)) if len(values) > 1 else None,
        float(np.std(people, ddof=1)) / math.sqrt(len(people)) if len(people) > 1 else None,
        float(np.std(whole, ddof=1)) / math.sqrt(len(whole)) if len(whole) > 1 else None,
    )


def by_subject(outcomes: Sequence[Outcome]) -> dict[int, Scores]:
    """Each held-out subject's scores, in the mean over the seeds."""
    gathered: dict[int, list[Scores]] = {}
    for outcome in outcomes:
        for subject, scores in outcome.subjects.items():
            gathered.setdefault(subject, []).append(scores)
    return {
        subject: Scores(of[0].windows, *(float(np.mean([getattr(one, score) for one in of])) for score in SCORES))
        for subject, of in sorted(gathered.items())
    }


def label_recall(outcomes: Sequence[Outcome], labels: Sequence[str]) -> Mapping[str, float | None]:
    """The share of each label's held-out windows that was answered right, over all runs."""
    total = np.zeros((len(labels), len(labels)), np.int64)
    for outcome in outcomes:
        if outcome.confusion:
            total += np.array(outcome.confusion)
    return {label: float(total[k, k] / total[k].sum()) if total[k].sum() else None for k, label in enumerate(labels)}
