"""Evaluate the accuracy of models on perturbed test windows.

Accuracy by label and by subject on the recorded test windows, then on the same windows under every perturbation of
perturbations.py. A model with a mount stage gets the perturbed windows of each recording rotated by the mount that is
estimated from them, as on a phone. Nothing is selected by the results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import convert
from numpy.typing import NDArray

from harexport.bench.discovery import CHECKPOINT_SUFFIX, list_models
from harexport.data.dataset import Dataset, Windows
from harexport.data.mounting import adapt_dataset, mount_windows, recording_ids
from harexport.data.uci_har.manifest import SPLITS
from harexport.errors import InputError
from harexport.evaluation import metrics
from harexport.evaluation.metrics import ClassificationMetrics, SubjectAccuracy
from harexport.robustness.perturbations import Perturbation, PerturbationInput, perturbations
from harexport.runtimes import model as models
from harexport.runtimes.model import Model
from harexport.utils.console import progress
from harexport.utils.files import unique_names

_Make = Callable[[int], tuple[NDArray[np.float32], NDArray[np.intp]]]


@dataclass(frozen=True)
class ConditionResult:
    """Result of a model under one condition; shares from 0 to 1.

    Attributes:
        group: Kind of the perturbation.
        name: Name of the condition.
        level: Its strength; None if it is not a number.
        draws: Number of random draws.
        windows: Number of perturbed windows.
        left_out: Windows that could not be perturbed (clock drift: the segment is too short).
        before: Accuracy on the same windows without the perturbation.
        mean: Mean accuracy over the draws.
        worst: Lowest accuracy of the draws.
        label_recall: Mean recall of each label; None for a label without windows.
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
    """Result of one model on the recorded windows, and under each condition that its channels allow."""

    name: str
    runtime: str
    figures: ClassificationMetrics
    subjects: dict[str, SubjectAccuracy]
    outcomes: tuple[ConditionResult, ...]

    def outcome(self, name: str) -> ConditionResult | None:
        """Return the result under a condition; None if the model's channels do not allow it."""
        return next((result for result in self.outcomes if result.name == name), None)


@dataclass(frozen=True)
class Robustness:
    """Results of all models; `labels` are those of the dataset."""

    source: str
    data_sha256: str
    labels: tuple[str, ...]
    models: tuple[ModelRobustness, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(value: dict[str, Any]) -> Robustness:
        """Parse the result of `to_dict`."""
        return convert(value, Robustness)

    @property
    def conditions(self) -> list[str]:
        """Names of all conditions, in order."""
        by_conditions = sorted(self.models, key=lambda model: -len(model.outcomes))
        return list(dict.fromkeys(outcome.name for model in by_conditions for outcome in model.outcomes))


def load_models(paths: Sequence[Path]) -> dict[str, Model]:
    """Load the named files, and the checkpoints in the named folders, one level down too.

    Returns:
        The models by unique name.

    Raises:
        InputError: A model cannot be loaded, or there is none.
    """
    listed = [path for path, is_named in list_models(paths) if is_named or path.suffix == CHECKPOINT_SUFFIX]
    found = list({path.resolve(): path for path in listed}.values())
    if not found:
        where = ", ".join(str(path) for path in paths)
        raise InputError(f"no checkpoint in {where}; `harexport train` writes one, or name a model file")
    names = [name.removesuffix(CHECKPOINT_SUFFIX) for name in unique_names(found)]
    return {name: models.load_model(path) for name, path in zip(names, found, strict=True)}


def evaluate_robustness(loaded: Mapping[str, Model], dataset: Dataset) -> Robustness:
    """Run models on the test windows of `dataset`, recorded and perturbed.

    Args:
        loaded: Models by name.
        dataset: Provides the test windows.

    Raises:
        InputError: A model does not fit the data, or there are no test windows.
    """
    if not len(dataset.test):
        raise InputError(f"{dataset.source} has no test windows")
    by_input: dict[tuple[tuple[str, ...], bool], list[tuple[str, Model]]] = {}
    for name, model in loaded.items():
        adapt_dataset(dataset, model.contract, model.name)
        by_input.setdefault((model.contract.channels, model.contract.frame is not None), []).append((name, model))
    found: dict[str, ModelRobustness] = {}
    for (channels, is_mounted), group in by_input.items():
        found |= _evaluate_group(group, dataset.select_channels(channels), is_mounted)
    return Robustness(dataset.source, dataset.digest, dataset.contract.labels, tuple(found[name] for name in loaded))


def _evaluate_group(group: list[tuple[str, Model]], dataset: Dataset, is_mounted: bool) -> dict[str, ModelRobustness]:
    """Evaluate models with the same input, for which each perturbation is computed once.

    Args:
        group: Models by name.
        dataset: Provides the test windows of their channels.
        is_mounted: Whether the models have a mount stage.
    """
    test = dataset.test
    conditions = perturbations(PerturbationInput.from_windows(test, dataset.contract))
    if is_mounted:
        mount = _MountStage(dataset)
        conditions = [dataclasses.replace(condition, make=mount.append_to(condition.make)) for condition in conditions]
        recorded = mount.apply(test.signals, np.arange(len(test)))
    else:
        recorded = test.signals
    unperturbed = {name: _predict(model, recorded) for name, model in group}
    outcomes: dict[str, list[ConditionResult]] = {name: [] for name, _ in group}
    title = f"{', '.join(unperturbed)}: conditions"
    with progress(title, len(conditions), "conditions") as advance:
        for done, condition in enumerate(conditions, 1):
            predictions = _run_condition(group, condition)
            for name, (kept, predicted) in predictions.items():
                before = unperturbed[name][kept] == test.labels[kept]
                outcomes[name].append(
                    _condition_result(condition, test.labels, kept, before, predicted, len(dataset.contract.labels))
                )
            advance(done)
    return {
        name: ModelRobustness(
            name,
            model.runner.runtime,
            metrics.classification_metrics(test.labels, unperturbed[name], len(dataset.contract.labels)),
            _accuracy_by_subject(dataset, unperturbed[name]),
            tuple(outcomes[name]),
        )
        for name, model in group
    }


class _MountStage:
    """Rotates test windows by the mount of their recording, which is estimated from its level walking."""

    def __init__(self, dataset: Dataset) -> None:
        self._test, self._contract = dataset.test, dataset.contract
        self._recordings = recording_ids(dataset, SPLITS[1])

    def apply(self, signals: NDArray[np.float32], kept: NDArray[np.intp]) -> NDArray[np.float32]:
        """Rotate the signals [n, window, channels] of the test windows `kept`."""
        windows = Windows(signals, self._test.labels[kept], self._test.subjects[kept])
        return mount_windows(windows, self._contract, self._recordings[kept]).signals

    def append_to(self, make: _Make) -> _Make:
        """Return a perturbation followed by the mount stage."""

        def perturb_and_mount(draw: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
            signals, kept = make(draw)
            return self.apply(signals, kept), kept

        return perturb_and_mount


def _run_condition(
    group: list[tuple[str, Model]], condition: Perturbation
) -> dict[str, tuple[NDArray[np.intp], list[NDArray[np.intp]]]]:
    """Return the indices of the perturbed windows and the predictions of every draw, by model."""
    predictions: dict[str, list[NDArray[np.intp]]] = {name: [] for name, _ in group}
    kept = np.zeros(0, np.intp)
    for draw in range(condition.draws):
        signals, kept = condition.make(draw)
        for name, model in group:
            predictions[name].append(_predict(model, signals))
    return {name: (kept, draws) for name, draws in predictions.items()}


def _predict(model: Model, signals: NDArray[np.float32]) -> NDArray[np.intp]:
    if not len(signals):
        return np.zeros(0, np.intp)
    logits = model.runner.logits(signals)
    if not np.isfinite(logits).all():
        raise InputError(f"{model.name}: its outputs for some test windows are NaN or infinite")
    predicted: NDArray[np.intp] = logits.argmax(axis=1)
    return predicted


def _condition_result(
    condition: Perturbation,
    labels: NDArray[np.int64],
    kept: NDArray[np.intp],
    before: NDArray[np.bool_],
    draws: list[NDArray[np.intp]],
    count: int,
) -> ConditionResult:
    truth = labels[kept]
    is_correct = np.array([predicted == truth for predicted in draws])
    recall = [float(is_correct[:, truth == k].mean()) if (truth == k).any() else None for k in range(count)]
    return ConditionResult(
        condition.group,
        condition.name,
        condition.level,
        condition.draws,
        len(kept),
        len(labels) - len(kept),
        float(before.mean()) if len(kept) else 0.0,
        float(is_correct.sum() / max(1, is_correct.size)),
        float(is_correct.sum(axis=1).min() / max(1, len(kept))),
        tuple(recall),
    )


def _accuracy_by_subject(dataset: Dataset, predicted: NDArray[np.intp]) -> dict[str, SubjectAccuracy]:
    shares = metrics.accuracy_by_subject(dataset.test.labels, predicted, dataset.test.subjects)
    return {dataset.subject_name(subject): share for subject, share in shares.items()}
