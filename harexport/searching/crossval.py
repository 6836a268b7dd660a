"""`harexport crossval`: what subjects who were not trained on say of a recipe. The test set is never opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harexport import files
from harexport.data.windows import Dataset
from harexport.searching import tables
from harexport.searching.folds import LOSO, folds
from harexport.searching.gather import Where, check, described, gather
from harexport.searching.runs import Outcome, Run, Scores
from harexport.searching.summary import SCORES, Summary, by_subject, label_recall, summaries
from harexport.training.recipe import Recipe

_NAMES = {"accuracy": "accuracy, %", "macro_f1": "macro F1, %", "cross_entropy": "cross-entropy"}


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
