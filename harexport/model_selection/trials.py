"""Trials: one training with one seed without the held-out subjects, scored on these; and a cache of their results."""

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
from harexport.errors import HarExportError, InputError
from harexport.evaluation.metrics import classification_metrics, cross_entropy
from harexport.model.recipe import Recipe
from harexport.training.validation import apply_recipe_to_dataset
from harexport.utils import files
from harexport.utils.console import info
from harexport.version import __version__

_KIND = "harexport-run"
_IRRELEVANT_SECTIONS = ("name", "description", "validation")  # of a recipe, for a training on given subjects


@dataclass(frozen=True)
class Trial:
    """One training without the `held_out` subjects."""

    recipe: Recipe
    held_out: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Scores:
    """Scores on a set of windows.

    Attributes:
        windows: Number of windows.
        accuracy: 0 to 1.
        macro_f1: Mean over the labels that occur among labels or predictions, 0 to 1.
        cross_entropy: Mean, in nats.
    """

    windows: int
    accuracy: float
    macro_f1: float
    cross_entropy: float


@dataclass(frozen=True)
class TrialResult:
    """Scores of a trial, or its error message.

    Attributes:
        scores: Scores on all held-out windows; None after an error.
        subjects: Scores by held-out subject.
        confusion: Counts [label][prediction].
        error: Error message; None if there are scores.
        seconds: Duration of the training.
        final: A repetition would give the same result, as after a diverged training; such a result is cached.
    """

    scores: Scores | None
    subjects: dict[int, Scores]
    confusion: tuple[tuple[int, ...], ...]
    error: str | None
    seconds: float
    final: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> TrialResult:
        """Read what `to_dict` returned. Raises KeyError, TypeError or ValueError for anything else."""
        scores, error = plain["scores"], plain["error"]
        if (scores is None) == (error is None):
            raise ValueError("neither scores nor an error")
        return TrialResult(
            None if scores is None else Scores(**scores),
            {int(subject): Scores(**values) for subject, values in plain["subjects"].items()},
            tuple(tuple(int(count) for count in row) for row in plain["confusion"]),
            error,
            float(plain["seconds"]),
        )


def remove_test_windows(dataset: Dataset) -> Dataset:
    """Remove the test windows, so that model selection cannot use them."""
    return dataclasses.replace(dataset, test=take(dataset.test, slice(0)))


def take(windows: Windows, index: slice | NDArray[np.intp]) -> Windows:
    """Select windows by position."""
    return dataclasses.replace(
        windows,
        signals=np.asarray(windows.signals[index]),
        labels=windows.labels[index],
        subjects=windows.subjects[index],
    )


def run_trial(dataset: Dataset, trial: Trial) -> TrialResult:
    """Train and score on one thread. Errors of data, recipe or PyTorch are part of the result."""
    from harexport.training.trainer import fit

    start = time.monotonic()
    try:
        dataset = apply_recipe_to_dataset(dataset, trial.recipe)
        train = dataset.train.select_subjects(trial.held_out, exclude=True)
        held_out = dataset.train.select_subjects(trial.held_out)
        num_labels = len(dataset.contract.labels)
        network, _ = fit(train, None, trial.recipe, num_labels, trial.seed)
        logits = network.logits(held_out.signals)
    except HarExportError as error:
        return TrialResult(None, {}, (), str(error), time.monotonic() - start)
    except Exception as error:  # PyTorch raises RuntimeError for almost everything, for example too little memory
        return create_failure(_first_line(error), time.monotonic() - start)
    scores, confusion = _score(logits, held_out.labels, num_labels)
    subjects = {}
    for subject in trial.held_out:
        mask = held_out.subjects == subject
        subjects[subject], _ = _score(logits[mask], held_out.labels[mask], num_labels)
    return TrialResult(scores, subjects, confusion, None, time.monotonic() - start)


def create_failure(error: str, seconds: float = 0.0) -> TrialResult:
    """Return the result of a trial that may succeed if it is repeated."""
    return TrialResult(None, {}, (), error, seconds, final=False)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0][:300]}"


def _score(
    logits: NDArray[np.float64], labels: NDArray[np.int64], num_labels: int
) -> tuple[Scores, tuple[tuple[int, ...], ...]]:
    figures = classification_metrics(labels, logits.argmax(axis=1), num_labels)
    return Scores(len(labels), figures.accuracy, figures.macro_f1, cross_entropy(logits, labels)), figures.confusion


class TrialCache:
    """Results of finished trials, one JSON file each, named by a hash of everything that determines the result.

    Args:
        folder: Folder of the files.
        dataset: Dataset of the trials.
    """

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        self.folder = folder
        self._digest = dataset.digest

    def find(self, trial: Trial) -> TrialResult | None:
        """Return the result of an earlier, identical trial; None if there is none or its file is damaged."""
        path = self._path(trial)
        if not path.exists():
            return None
        try:
            stored = files.read_json(path, "trial")
            if stored["kind"] != _KIND or stored["run"] != self._key(trial):
                raise ValueError("it belongs to another trial")
            return TrialResult.from_dict(stored["outcome"])
        except (InputError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            info(f"{path} is damaged ({type(error).__name__}); this trial is repeated")
            return None

    def add(self, trial: Trial, result: TrialResult) -> None:
        """Store a result. Raises InputError if the file cannot be written."""
        files.write_json(self._path(trial), {"kind": _KIND, "run": self._key(trial), "outcome": result.to_dict()})

    def _path(self, trial: Trial) -> Path:
        text = json.dumps(self._key(trial), sort_keys=True, separators=(",", ":"))
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"

    def _key(self, trial: Trial) -> dict[str, Any]:
        recipe = {key: value for key, value in trial.recipe.to_dict().items() if key not in _IRRELEVANT_SECTIONS}
        shared = {"held_out": list(trial.held_out), "seed": trial.seed, "data": self._digest}
        return {"recipe": recipe, **shared, **package_versions()}


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that determine the result of a training."""
    return {"harexport": __version__, **{name: metadata.version(name) for name in ("torch", "numpy")}}
