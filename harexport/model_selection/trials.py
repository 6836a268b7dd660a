"""One run: a recipe trained with one seed on all but the held-out subjects, and what those say of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Dataset, Windows
from harexport.data.mounting import select_held_out
from harexport.errors import HarExportError
from harexport.evaluation.metrics import classification_metrics, cross_entropy
from harexport.model.recipe import Recipe
from harexport.training.validation import apply_recipe_to_dataset
from harexport.utils import files
from harexport.utils.console import info
from harexport.version import __version__

_KIND = "harexport-run"
_NO_PART = ("name", "description", "validation")  # of a recipe, in a training on given subjects


@dataclass(frozen=True)
class Run:
    """`held_out` subjects are not trained on; the network answers their windows when it is done."""

    recipe: Recipe
    held_out: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Scores:
    """Of some windows: shares from 0 to 1, and the mean cross-entropy in nats.

    `macro_f1` is the mean over the labels that occur among truth and answers: a subject who never lay down does not
    pull it down.
    """

    windows: int
    accuracy: float
    macro_f1: float
    cross_entropy: float


@dataclass(frozen=True)
class Outcome:
    """What became of a run: scores of all held-out windows and by subject, or, in words, why there are none.

    `final`: the same run would end the same way again, so it is not repeated when a search goes on. A process that
    was killed is not final, a training that diverged is.
    """

    scores: Scores | None
    subjects: dict[int, Scores]
    confusion: tuple[tuple[int, ...], ...]
    error: str | None
    seconds: float
    final: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> Outcome:
        """Read what `to_dict` wrote. Raises KeyError, TypeError or ValueError where it is something else."""
        scores, error = plain["scores"], plain["error"]
        if (scores is None) == (error is None):
            raise ValueError("neither scores nor an error")
        return Outcome(
            None if scores is None else Scores(**scores),
            {int(subject): Scores(**of) for subject, of in plain["subjects"].items()},
            tuple(tuple(int(count) for count in row) for row in plain["confusion"]),
            error,
            float(plain["seconds"]),
        )


def without_test(dataset: Dataset) -> Dataset:
    """The training windows alone: what is chosen by held-out subjects never has the test set at hand."""
    return dataclasses.replace(dataset, test=some(dataset.test, slice(0)))


def some(windows: Windows, which: slice | NDArray[np.intp]) -> Windows:
    """The windows at these positions."""
    return dataclasses.replace(
        windows,
        signals=np.asarray(windows.signals[which]),
        labels=windows.labels[which],
        subjects=windows.subjects[which],
    )


def work(dataset: Dataset, run: Run) -> Outcome:
    """Train and score, on one thread. Never raises for what can go wrong with data or recipe: that is an outcome."""
    from harexport.training.trainer import fit

    began = time.monotonic()
    try:
        dataset = apply_recipe_to_dataset(dataset, run.recipe)
        train = dataset.train.select_subjects(run.held_out, exclude=True)
        held_out = select_held_out(dataset, run.held_out)
        labels = len(dataset.contract.labels)
        network, _ = fit(train, None, run.recipe, labels, run.seed)
        logits = network.logits(held_out.signals)
    except HarExportError as error:
        return Outcome(None, {}, (), str(error), time.monotonic() - began)
    except Exception as error:  # torch has a RuntimeError for everything, memory that ran out among it
        return lost(_first_line(error), time.monotonic() - began)
    scores, confusion = _scores(logits, held_out.labels, labels)
    subjects = {}
    for subject in run.held_out:
        own = held_out.subjects == subject
        subjects[subject], _ = _scores(logits[own], held_out.labels[own], labels)
    return Outcome(scores, subjects, confusion, None, time.monotonic() - began)


def lost(error: str, seconds: float = 0.0) -> Outcome:
    """A run that came to nothing, but may come to something when it is tried again."""
    return Outcome(None, {}, (), error, seconds, final=False)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no words'])[0][:300]}"


def _scores(
    logits: NDArray[np.float64], truth: NDArray[np.int64], labels: int
) -> tuple[Scores, tuple[tuple[int, ...], ...]]:
    figures = classification_metrics(truth, logits.argmax(axis=1), labels)
    return Scores(len(truth), figures.accuracy, figures.macro_f1, cross_entropy(logits, truth)), figures.confusion


class Kept:
    """The outcomes that stand in a folder: a small file for each run, named after everything that decides about it."""

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        self.folder = folder
        self._data = dataset.digest

    def find(self, run: Run) -> Outcome | None:
        """The outcome of an earlier run of just this; None where there is none, or its file is damaged."""
        path = self._path(run)
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["kind"] != _KIND or stored["run"] != self._key(run):
                raise ValueError("it is of another run")
            return Outcome.from_dict(stored["outcome"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            info(f"{path} is damaged ({type(error).__name__}): this run is done again")
            return None

    def add(self, run: Run, outcome: Outcome) -> None:
        """Keep an outcome. Raises InputError where nothing can be written."""
        files.write_json(self._path(run), {"kind": _KIND, "run": self._key(run), "outcome": outcome.to_dict()})

    def _path(self, run: Run) -> Path:
        text = json.dumps(self._key(run), sort_keys=True, separators=(",", ":"))
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"

    def _key(self, run: Run) -> dict[str, Any]:
        keys = {key: value for key, value in run.recipe.to_dict().items() if key not in _NO_PART}
        return {"recipe": keys, "held_out": list(run.held_out), "seed": run.seed, "data": self._data, **versions()}


def versions() -> dict[str, str]:
    """Of what a training computes with: another version may end in other numbers."""
    return {"harexport": __version__, **{name: metadata.version(name) for name in ("torch", "numpy")}}
