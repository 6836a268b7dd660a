"""`harexport crossval`: what subjects who were not trained on say of a recipe. The test set is never opened."""

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
from harexport.model_selection.parallel import Where, check, described, gather
from harexport.model_selection.trials import Outcome, Run, Scores
from harexport.utils import files, tables

_NAMES = {"accuracy": "accuracy, %", "macro_f1": "macro F1, %", "cross_entropy": "cross-entropy"}


LOSO = "loso"


@dataclass(frozen=True)
class Crossval:
    """A whole cross-validation: its runs in the order of folds, then seeds, and the files it wrote.

    `subjects`: by name, in the mean over seeds. `failures`: a sentence for each run that came to nothing.
    """

    recipe: Recipe
    data: str
    runs: tuple[Run, ...]
    outcomes: tuple[Outcome, ...]
    summary: dict[str, Summary]
    subjects: dict[str, Scores]
    label_recall: dict[str, float | None]
    failures: tuple[str, ...]
    tables: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the same whatever machine or process did which run when."""
        return {
            "recipe": self.recipe.to_dict(),
            "data": self.data,
            "folds": [list(fold) for fold in dict.fromkeys(run.held_out for run in self.runs)],
            "seeds": list(dict.fromkeys(run.seed for run in self.runs)),
            "summary": {score: dataclasses.asdict(summary) for score, summary in self.summary.items()},
            "subjects": {subject: dataclasses.asdict(of) for subject, of in self.subjects.items()},
            "label_recall": self.label_recall,
            "failures": list(self.failures),
            "tables": [str(path) for path in self.tables],
        }


def runs_folder(out: Path, recipe: Recipe) -> Path:
    """Where the finished runs of a recipe and its variants are kept."""
    return out / f"{recipe.name}.runs"


def crossval(
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    asked: str = LOSO,
    seeds: Sequence[int] = (0,),
    where: Where = Where(),  # noqa: B008 - frozen
) -> Crossval:
    """Train `recipe` once for each fold of the training subjects and each seed, and score it on the fold's subjects.

    asked: "loso" or a number of folds. Writes `<recipe>.crossval.csv` (a row a run), `<recipe>.subjects.csv` (a row a
    subject) and `<recipe>.crossval.json` to `out`; finished runs stand in `<recipe>.runs` and are not done again. A
    run that fails stands in the tables with its sentence. Raises InputError, MissingExtraError.
    """
    parted = folds(dataset.train.subjects.tolist(), asked)
    check(dataset, [recipe])
    runs = tuple(Run(recipe, fold, seed) for fold in parted for seed in seeds)
    outcomes = tuple(gather(dataset, runs, runs_folder(out, recipe), where))
    written = tuple(out / f"{recipe.name}.{what}" for what in ("crossval.csv", "subjects.csv", "crossval.json"))
    result = Crossval(
        recipe,
        dataset.digest,
        runs,
        outcomes,
        summaries(runs, outcomes),
        {dataset.subject_name(subject): scores for subject, scores in by_subject(outcomes).items()},
        dict(label_recall(outcomes, dataset.contract.labels)),
        tuple(f"{described(run, dataset)}: {of.error}" for run, of in zip(runs, outcomes, strict=True) if of.error),
        written,
    )
    _write(result, dataset, *written)
    return result


def _write(result: Crossval, dataset: Dataset, runs: Path, subjects: Path, whole: Path) -> None:
    parted = list(dict.fromkeys(run.held_out for run in result.runs))
    rows = []
    for run, outcome in zip(result.runs, result.outcomes, strict=True):
        cells = dataclasses.astuple(outcome.scores) if outcome.scores else (None,) * (1 + len(SCORES))
        held_out = "; ".join(dataset.subject_name(subject) for subject in run.held_out)
        rows.append([result.recipe.name, parted.index(run.held_out), held_out, run.seed, *cells, outcome.error])
    tables.write_csv(runs, ["recipe", "fold", "held_out", "seed", "windows", *SCORES, "error"], rows)
    people = [[subject, *dataclasses.astuple(of)] for subject, of in result.subjects.items()]
    tables.write_csv(subjects, ["subject", "windows", *SCORES], people)
    files.write_json(whole, result.to_dict())


def text(result: Crossval) -> str:
    """The report for people."""
    parted = list(dict.fromkeys(run.held_out for run in result.runs))
    seeds = list(dict.fromkeys(run.seed for run in result.runs))
    done = sum(outcome.scores is not None for outcome in result.outcomes)
    lines = [
        f"{result.recipe.name}: {len(parted)} folds by subject, {len(seeds)} seed{'s' * (len(seeds) > 1)}, "
        f"{done} of {len(result.runs)} runs; the test set was not opened",
        "",
        tables.columns(
            ["", "mean", "std", "error by subjects", "error by seeds"],
            [
                [_NAMES[score], *(tables.form(score, value) for value in dataclasses.astuple(of))]
                for score, of in result.summary.items()
            ],
        ),
        "(std: over folds and seeds; errors: standard errors of the mean, over subjects and over seeds)",
    ]
    if result.subjects:
        people = [
            [subject, str(of.windows), *(tables.form(score, getattr(of, score)) for score in SCORES)]
            for subject, of in result.subjects.items()
        ]
        recall = [[label, tables.percent(share)] for label, share in result.label_recall.items()]
        lines += ["", tables.columns(["subject", "windows", *_NAMES.values()], people)]
        lines += ["", tables.columns(["label", "recall, %"], recall)]
    return "\n".join([*lines, "", *(f"Table: {path}" for path in result.tables)])


_MOST_SEEDS = 1000


def folds(subjects: Sequence[int], asked: str) -> list[tuple[int, ...]]:
    """The subjects that each fold holds out: every subject in exactly one fold.

    asked: "loso" (leave one subject out) or a number of folds; fold k of n holds out the subjects k, k + n, k + 2n ...
    of the sorted list, so that folds are of about one size and neighbours in the list are apart. Raises InputError.
    """
    ordered = sorted(set(subjects))
    if len(ordered) < 2:
        raise InputError(
            f"the training windows are of {len(ordered)} subject(s): one is held out and one trained on, so two is the "
            "least"
        )
    if asked == LOSO:
        count = len(ordered)
    else:
        count = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 9 else 0
        if not 2 <= count <= len(ordered):
            raise InputError(
                f"--folds {asked}: give {LOSO} or a number from 2 to {len(ordered)}, the number of training subjects"
            )
    return [tuple(ordered[k::count]) for k in range(count)]


def seeds(text: str) -> tuple[int, ...]:
    """`--seeds` as numbers, each once. Raises InputError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) <= 10 and int(part) < 2**32 for part in parts):
        raise InputError(f"--seeds {text}: give numbers from 0 to {2**32 - 1} with commas, such as 0,1,2")
    if len(parts) > _MOST_SEEDS:
        raise InputError(f"--seeds: {len(parts)} of them; at most {_MOST_SEEDS}")
    return tuple(dict.fromkeys(int(part) for part in parts))


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
