"""`harexport robustness`: how models answer when a phone is worn, or samples, otherwise than the data set's did.

Accuracy by class and by subject on the test windows as they are, then the same windows under every perturbation of
perturbations.py. Nothing is chosen by it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.bench.discovery import CHECKPOINT_SUFFIX, list_models
from harexport.data.dataset import Dataset
from harexport.errors import InputError
from harexport.evaluation import metrics
from harexport.evaluation.metrics import ClassificationMetrics, SubjectAccuracy
from harexport.evaluation.plots import format_label
from harexport.robustness.perturbations import Perturbation, PerturbationInput, perturbations
from harexport.runtimes import model as models
from harexport.runtimes.model import Model
from harexport.utils import tables
from harexport.utils.console import progress
from harexport.utils.files import unique_names
from harexport.utils.tables import Table

_NONE = "-"


@dataclass(frozen=True)
class ConditionResult:
    """How a model answers under one condition; shares from 0 to 1.

    `draws` times perturbed: the mean and the worst accuracy of them, and the mean recall of each label (None where no
    window has it). `windows` were asked, `left_out` could not be made (drift: no room); `before` is the accuracy on
    the same windows as they are.
    """

    group: str
    name: str
    level: float | None
    draws: int
    windows: int
    left_out: int
    before: float
    mean: float
    worst: float
    label_recall: tuple[float | None, ...]


@dataclass(frozen=True)
class ModelRobustness:
    """One model: its figures on the windows as they are, and under each condition that its channels allow."""

    name: str
    runtime: str
    figures: ClassificationMetrics
    subjects: dict[str, SubjectAccuracy]
    outcomes: tuple[ConditionResult, ...]

    def outcome(self, name: str) -> ConditionResult | None:
        """What came of one condition; None where the model's channels do not allow it."""
        return next((one for one in self.outcomes if one.name == name), None)


@dataclass(frozen=True)
class Robustness:
    """All models; `labels` are the data set's."""

    source: str
    data_sha256: str
    labels: tuple[str, ...]
    models: tuple[ModelRobustness, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(value: dict[str, Any]) -> Robustness:
        """What `to_dict` gave."""
        found = []
        for one in value["models"]:
            figures, outcomes = one["figures"], one["outcomes"]
            rows = tuple(tuple(row) for row in figures["confusion"])
            recall = tuple(figures["label_recall"])
            found.append(
                ModelRobustness(
                    one["name"],
                    one["runtime"],
                    ClassificationMetrics(**{**figures, "confusion": rows, "label_recall": recall}),
                    {subject: SubjectAccuracy(**share) for subject, share in one["subjects"].items()},
                    tuple(
                        ConditionResult(**{**each, "label_recall": tuple(each["label_recall"])}) for each in outcomes
                    ),
                )
            )
        return Robustness(value["source"], value["data_sha256"], tuple(value["labels"]), tuple(found))

    @property
    def conditions(self) -> list[str]:
        """The names of every condition of any model, in order."""
        widest = sorted(self.models, key=lambda model: -len(model.outcomes))
        return list(dict.fromkeys(one.name for model in widest for one in model.outcomes))


def load_models(paths: Sequence[Path]) -> dict[str, Model]:
    """Load the named files, and the checkpoints in the named folders, one level down too.

    Returns:
        The models by unique name.

    Raises:
        InputError: A model cannot be loaded, or there is none.
    """
    found = [path for path, is_named in list_models(paths) if is_named or path.suffix == CHECKPOINT_SUFFIX]
    if not found:
        where = ", ".join(str(path) for path in paths)
        raise InputError(f"no checkpoint in {where}; `harexport train` writes one, or name a model file")
    names = [name.removesuffix(CHECKPOINT_SUFFIX) for name in unique_names(found)]
    return {name: models.load_model(path) for name, path in zip(names, found, strict=True)}


def evaluate_robustness(asked: Mapping[str, Model], dataset: Dataset) -> Robustness:
    """Ask models, by their names, the test windows of `dataset`, as they are and perturbed.

    Raises InputError where one does not fit the data.
    """
    if not len(dataset.test):
        raise InputError(f"{dataset.source} has no test windows to ask")
    alike: dict[tuple[str, ...], list[tuple[str, Model]]] = {}
    for name, model in asked.items():
        dataset.matching(model.contract, model.name)
        alike.setdefault(model.contract.channels, []).append((name, model))
    found: dict[str, ModelRobustness] = {}
    for channels, group in alike.items():
        found |= _of_contract(group, dataset.select_channels(channels))
    return Robustness(dataset.source, dataset.digest, dataset.contract.labels, tuple(found[name] for name in asked))


def _of_contract(group: list[tuple[str, Model]], dataset: Dataset) -> dict[str, ModelRobustness]:
    """Models that read the same channels: what is perturbed is perturbed once."""
    test = dataset.test
    scene = PerturbationInput.of(test, dataset.contract)
    conditions = perturbations(scene)
    plain = {name: _answers(model, test.signals) for name, model in group}
    outcomes: dict[str, list[ConditionResult]] = {name: [] for name, _ in group}
    title = f"{', '.join(plain)}: conditions"
    with progress(title, len(conditions), "conditions") as advance:
        for done, condition in enumerate(conditions, 1):
            asked = _asked(group, condition)
            for name, (kept, answers) in asked.items():
                before = plain[name][kept] == test.labels[kept]
                outcomes[name].append(
                    _outcome(condition, test.labels, kept, before, answers, len(dataset.contract.labels))
                )
            advance(done)
    return {
        name: ModelRobustness(
            name,
            model.runner.runtime,
            metrics.classification_metrics(test.labels, plain[name], len(dataset.contract.labels)),
            _subjects(dataset, plain[name]),
            tuple(outcomes[name]),
        )
        for name, model in group
    }


def _asked(
    group: list[tuple[str, Model]], condition: Perturbation
) -> dict[str, tuple[NDArray[np.intp], list[NDArray[np.intp]]]]:
    """Which windows were asked, and the answers of every draw, by model."""
    answers: dict[str, list[NDArray[np.intp]]] = {name: [] for name, _ in group}
    kept = np.zeros(0, np.intp)
    for draw in range(condition.draws):
        signals, kept = condition.make(draw)
        for name, model in group:
            answers[name].append(_answers(model, signals))
    return {name: (kept, drawn) for name, drawn in answers.items()}


def _answers(model: Model, signals: NDArray[np.float32]) -> NDArray[np.intp]:
    if not len(signals):
        return np.zeros(0, np.intp)
    answers: NDArray[np.intp] = model.runner.logits(signals).argmax(axis=1)
    return answers


def _outcome(
    condition: Perturbation,
    labels: NDArray[np.int64],
    kept: NDArray[np.intp],
    before: NDArray[np.bool_],
    answers: list[NDArray[np.intp]],
    count: int,
) -> ConditionResult:
    truth = labels[kept]
    right = np.array([drawn == truth for drawn in answers])
    recall = [float(right[:, truth == k].mean()) if (truth == k).any() else None for k in range(count)]
    return ConditionResult(
        condition.group,
        condition.name,
        condition.level,
        condition.draws,
        len(kept),
        len(labels) - len(kept),
        float(before.mean()) if len(kept) else 0.0,
        float(right.sum() / max(1, right.size)),
        float(right.sum(axis=1).min() / max(1, len(kept))),
        tuple(recall),
    )


def _subjects(dataset: Dataset, answers: NDArray[np.intp]) -> dict[str, SubjectAccuracy]:
    shares = metrics.accuracy_by_subject(dataset.test.labels, answers, dataset.test.subjects)
    return {dataset.subject_name(subject): share for subject, share in shares.items()}


def condition_rows(result: Robustness) -> Table:
    """A row a condition, a column a model: accuracy, in brackets that of the worst draw."""
    rows: Table = [("condition", *(model.name for model in result.models))]
    rows.append(("as recorded", *(f"{model.figures.accuracy:.1%}" for model in result.models)))
    for name in result.conditions:
        rows.append((name, *(_cell(model.outcome(name)) for model in result.models)))
    return rows


def label_rows(result: Robustness) -> Table:
    """Recall of each label on the windows as they are."""
    rows: Table = [("recall", *(model.name for model in result.models))]
    for k, label in enumerate(result.labels):
        rows.append((format_label(label), *(f"{model.figures.label_recall[k]:.1%}" for model in result.models)))
    return rows


def subject_rows(result: Robustness) -> Table:
    """Accuracy of each test subject on the windows as they are."""
    rows: Table = [("test subject", *(model.name for model in result.models))]
    for subject in result.models[0].subjects:
        rows.append((subject, *(f"{model.subjects[subject].accuracy:.1%}" for model in result.models)))
    return rows


def left_out(result: Robustness) -> list[str]:
    """A sentence for each condition that could not be made of all windows."""
    said = {}
    for model in result.models:
        for one in (one for one in model.outcomes if one.left_out):
            asked = f"{one.left_out} of {one.windows + one.left_out} windows have no room for it and are left out"
            said[one.name] = f"{one.name}: {asked}."
    return list(said.values())


def text(result: Robustness) -> str:
    """All tables for the terminal."""
    parts = [tables.format_text(rows(result)) for rows in (condition_rows, label_rows, subject_rows)]
    return "\n\n".join([*parts, *left_out(result)])


def markdown(result: Robustness) -> str:
    """All tables as GitHub Markdown."""
    parts = [tables.format_markdown(rows(result)) for rows in (condition_rows, label_rows, subject_rows)]
    return "\n\n".join([*parts, *left_out(result)]) + "\n"


def _cell(outcome: ConditionResult | None) -> str:
    if outcome is None or not outcome.windows:
        return _NONE
    worst = f" ({outcome.worst:.1%})" if outcome.draws > 1 else ""
    return f"{outcome.mean:.1%}{worst}"
