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
    it. seed_error: its standard error as far as seeds decide, sqrt(v / n) with v the variance within a fold between
    seeds, pooled over the folds (one-way analysis of variance), and n the number of runs: what the difference between
    two recipes on the same folds must beat.
    """

    mean: float | None
    std: float | None
    subject_error: float | None
    seed_error: float | None


def summaries(runs: Sequence[Run], outcomes: Sequence[Outcome]) -> dict[str, Summary]:
    """A summary of each of SCORES."""
    return {score: _summary(runs, outcomes, score) for score in SCORES}


def _summary(runs: Sequence[Run], outcomes: Sequence[Outcome], score: str) -> Summary:
    folds: dict[tuple[int, ...], list[float]] = {}
    for run, outcome in zip(runs, outcomes, strict=True):
        if outcome.scores:
            folds.setdefault(run.held_out, []).append(getattr(outcome.scores, score))
    values = [value for fold in folds.values() for value in fold]
    people = [getattr(of, score) for of in by_subject(outcomes).values()]
    freedom = len(values) - len(folds)
    within = sum(float(np.var(fold)) * len(fold) for fold in folds.values())
    return Summary(
        float(np.mean(values)) if values else None,
        float(np.std(values, ddof=1)) if len(values) > 1 else None,
        float(np.std(people, ddof=1)) / math.sqrt(len(people)) if len(people) > 1 else None,
        math.sqrt(within / freedom / len(values)) if freedom else None,
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
