"""Cross-validation of a recipe by subjects. The test set is not used."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harexport.data.dataset import Dataset
from harexport.errors import InputError
from harexport.model.recipe import Recipe
from harexport.model_selection.parallel import Execution, check_recipes, describe_trial, run_trials
from harexport.model_selection.trials import Scores, Trial, TrialResult
from harexport.utils import files, tables

LOSO = "loso"  # leave one subject out
SCORES = ("accuracy", "macro_f1", "cross_entropy")
_TITLES = {"accuracy": "accuracy, %", "macro_f1": "macro F1, %", "cross_entropy": "cross-entropy"}
_MAX_SEEDS = 1000


@dataclass(frozen=True)
class Summary:
    """Statistics of one score over the trials that have one; None if there are too few.

    Attributes:
        mean: Mean over folds and seeds, each trial with the same weight.
        std: Sample standard deviation over folds and seeds.
        subject_error: Standard error of the mean over subjects, s / sqrt(n) of each subject's mean over the seeds: the
            uncertainty for other people.
        seed_error: Standard error of the mean over seeds, s / sqrt(n) of each seed's mean over all folds: the
            uncertainty of a comparison of two recipes on the same folds. A seed's folds start from the same initial
            values, so they are not independent.
    """

    mean: float | None
    std: float | None
    subject_error: float | None
    seed_error: float | None


@dataclass(frozen=True)
class CrossValidation:
    """Result of a cross-validation.

    Attributes:
        recipe: The recipe.
        data: Digest of the dataset.
        trials: Trials in the order of folds, then seeds.
        results: Result of each trial.
        summary: Statistics of each score.
        subjects: Mean scores over the seeds, by subject name.
        label_recall: Recall of each label over all trials.
        failures: Error message of each failed trial.
        tables: Files written.
    """

    recipe: Recipe
    data: str
    trials: tuple[Trial, ...]
    results: tuple[TrialResult, ...]
    summary: dict[str, Summary]
    subjects: dict[str, Scores]
    label_recall: dict[str, float | None]
    failures: tuple[str, ...]
    tables: tuple[Path, ...]

    @property
    def folds(self) -> list[tuple[int, ...]]:
        """Held-out subjects of each fold."""
        return list(dict.fromkeys(trial.held_out for trial in self.trials))

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(trial.seed for trial in self.trials))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, independent of where and in which order the trials ran."""
        return {
            "recipe": self.recipe.to_dict(),
            "data": self.data,
            "folds": [list(fold) for fold in self.folds],
            "seeds": self.seeds,
            "summary": {score: dataclasses.asdict(summary) for score, summary in self.summary.items()},
            "subjects": {subject: dataclasses.asdict(scores) for subject, scores in self.subjects.items()},
            "label_recall": self.label_recall,
            "failures": list(self.failures),
            "tables": [str(path) for path in self.tables],
        }


def cache_folder(out: Path, recipe: Recipe) -> Path:
    """Return the folder with the finished trials of a recipe and its variants."""
    return out / f"{recipe.name}.runs"


def cross_validate(
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    folds: str = LOSO,
    seeds: Sequence[int] = (0,),
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> CrossValidation:
    """Train a recipe once per fold and seed and score it on the held-out subjects.

    Writes `<recipe>.crossval.csv` (one row per trial), `<recipe>.subjects.csv` (one row per subject) and
    `<recipe>.crossval.json`. Finished trials are cached in `<recipe>.runs`. A failed trial is a row with its error.

    Args:
        dataset: Dataset; its test windows are not used.
        recipe: Hyperparameters.
        out: Output folder.
        folds: "loso" or a number of folds.
        seeds: Seeds of the random number generators.
        execution: Where the trials run.

    Raises:
        InputError: Dataset and recipe do not fit, or a file cannot be written.
        MissingExtraError: PyTorch or Ray is not installed.
    """
    held_out = make_folds(dataset.train.subjects.tolist(), folds)
    check_recipes(dataset, [recipe])
    trials = tuple(Trial(recipe, fold, seed) for fold in held_out for seed in seeds)
    results = tuple(run_trials(dataset, trials, cache_folder(out, recipe), execution))
    paths = tuple(out / f"{recipe.name}.{name}" for name in ("crossval.csv", "subjects.csv", "crossval.json"))
    by_subject = {dataset.subject_name(subject): scores for subject, scores in scores_by_subject(results).items()}
    failures = tuple(
        f"{describe_trial(trial, dataset)}: {result.error}"
        for trial, result in zip(trials, results, strict=True)
        if result.error
    )
    recall = dict(recall_by_label(results, dataset.contract.labels))
    summary = summarize(trials, results)
    result = CrossValidation(recipe, dataset.digest, trials, results, summary, by_subject, recall, failures, paths)
    _write_tables(result, dataset)
    return result


def _write_tables(result: CrossValidation, dataset: Dataset) -> None:
    rows = []
    for trial, outcome in zip(result.trials, result.results, strict=True):
        cells = dataclasses.astuple(outcome.scores) if outcome.scores else (None,) * (1 + len(SCORES))
        names = "; ".join(dataset.subject_name(subject) for subject in trial.held_out)
        rows.append([result.recipe.name, result.folds.index(trial.held_out), names, trial.seed, *cells, outcome.error])
    trials_csv, subjects_csv, json_path = result.tables
    tables.write_csv(trials_csv, ["recipe", "fold", "held_out", "seed", "windows", *SCORES, "error"], rows)
    subject_rows = [[subject, *dataclasses.astuple(scores)] for subject, scores in result.subjects.items()]
    tables.write_csv(subjects_csv, ["subject", "windows", *SCORES], subject_rows)
    files.write_json(json_path, result.to_dict())


def format_cross_validation(result: CrossValidation) -> str:
    """Return the result as text."""
    num_seeds = len(result.seeds)
    successful = sum(outcome.scores is not None for outcome in result.results)
    lines = [
        f"{result.recipe.name}: {len(result.folds)} folds by subject, {num_seeds} seed{'s' * (num_seeds > 1)}, "
        f"{successful} of {len(result.trials)} trials; the test set was not used",
        "",
        tables.format_text(
            [
                ["", "mean", "std", "error by subjects", "error by seeds"],
                *(
                    [_TITLES[score], *(tables.format_score(score, value) for value in dataclasses.astuple(summary))]
                    for score, summary in result.summary.items()
                ),
            ]
        ),
        "(std: over folds and seeds; errors: standard errors of the mean, over subjects and over seeds)",
    ]
    if result.subjects:
        subject_rows = [
            [subject, str(scores.windows), *(tables.format_score(score, getattr(scores, score)) for score in SCORES)]
            for subject, scores in result.subjects.items()
        ]
        recall = [[label, tables.format_percent(value)] for label, value in result.label_recall.items()]
        lines += ["", tables.format_text([["subject", "windows", *_TITLES.values()], *subject_rows])]
        lines += ["", tables.format_text([["label", "recall, %"], *recall])]
    return "\n".join([*lines, "", *(f"Table: {path}" for path in result.tables)])


def make_folds(subjects: Sequence[int], folds: str) -> list[tuple[int, ...]]:
    """Return the held-out subjects of each fold. Every subject is in exactly one fold.

    Args:
        subjects: Subject of each training window.
        folds: "loso" (leave one subject out) or a number of folds n. Fold k holds out the subjects k, k + n, k + 2n,
            ... of the sorted list, so that folds have about the same size.

    Raises:
        InputError: There is only one subject, or `folds` is not valid.
    """
    ordered = sorted(set(subjects))
    if len(ordered) < 2:
        raise InputError(f"the training windows have {len(ordered)} subject(s); cross-validation needs at least two")
    if folds == LOSO:
        count = len(ordered)
    else:
        count = int(folds) if folds.isascii() and folds.isdecimal() and len(folds) < 9 else 0
        if not 2 <= count <= len(ordered):
            raise InputError(
                f"--folds {folds}: give {LOSO} or a number from 2 to {len(ordered)}, the number of training subjects"
            )
    return [tuple(ordered[k::count]) for k in range(count)]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse `--seeds`, without duplicates. Raises InputError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) <= 10 and int(part) < 2**32 for part in parts):
        raise InputError(f"--seeds {text}: give numbers from 0 to {2**32 - 1} separated by commas, for example 0,1,2")
    if len(parts) > _MAX_SEEDS:
        raise InputError(f"--seeds: {len(parts)} seeds; at most {_MAX_SEEDS}")
    return tuple(dict.fromkeys(int(part) for part in parts))


def summarize(trials: Sequence[Trial], results: Sequence[TrialResult]) -> dict[str, Summary]:
    """Summarize each of SCORES."""
    return {score: _summarize(trials, results, score) for score in SCORES}


def _summarize(trials: Sequence[Trial], results: Sequence[TrialResult], score: str) -> Summary:
    by_seed: dict[int, list[float]] = {}
    for trial, result in zip(trials, results, strict=True):
        if result.scores:
            by_seed.setdefault(trial.seed, []).append(getattr(result.scores, score))
    values = [value for seed_values in by_seed.values() for value in seed_values]
    num_folds = len({trial.held_out for trial in trials})
    seed_means = [float(np.mean(seed_values)) for seed_values in by_seed.values() if len(seed_values) == num_folds]
    subject_means = [getattr(scores, score) for scores in scores_by_subject(results).values()]
    return Summary(
        float(np.mean(values)) if values else None,
        float(np.std(values, ddof=1)) if len(values) > 1 else None,
        _standard_error(subject_means),
        _standard_error(seed_means),
    )


def _standard_error(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None


def scores_by_subject(results: Sequence[TrialResult]) -> dict[int, Scores]:
    """Return the mean scores of each held-out subject over the seeds."""
    collected: dict[int, list[Scores]] = {}
    for result in results:
        for subject, scores in result.subjects.items():
            collected.setdefault(subject, []).append(scores)
    return {
        subject: Scores(
            values[0].windows, *(float(np.mean([getattr(scores, score) for scores in values])) for score in SCORES)
        )
        for subject, values in sorted(collected.items())
    }


def recall_by_label(results: Sequence[TrialResult], labels: Sequence[str]) -> Mapping[str, float | None]:
    """Return the recall of each label on the held-out windows of all trials; None for a label without windows."""
    total = np.zeros((len(labels), len(labels)), np.int64)
    for result in results:
        if result.confusion:
            total += np.array(result.confusion)
    return {label: float(total[k, k] / total[k].sum()) if total[k].sum() else None for k, label in enumerate(labels)}
