"""Whether data and recipe can end in a model and its figures at all: asked before the first of many minutes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Dataset, Windows
from harexport.errors import InputError
from harexport.model.network import check_windows
from harexport.model.recipe import Recipe
from harexport.training import coarse_labels
from harexport.utils.console import info


def apply_recipe_to_dataset(dataset: Dataset, recipe: Recipe) -> Dataset:
    """The data as the recipe's network sees them: its channels, and the names of its coarse labels.

    Raises InputError for channels that are not there and for coarse labels of another number of labels.
    """
    seen = dataset.select_channels(recipe.data.channels or dataset.contract.channels)
    lumps = coarse_labels.coarse_label_names(recipe.model.coarse, seen.contract.labels)
    return replace(seen, contract=replace(seen.contract, coarse_labels=lumps))


def held_out_subjects(dataset: Dataset, recipe: Recipe) -> tuple[int, ...]:
    """The training subjects that the first pass holds out: those that the data name, else those of the recipe."""
    return recipe.validation.subjects if dataset.held_out is None else dataset.held_out


def check_recipe(dataset: Dataset, recipe: Recipe) -> None:
    """Raise InputError, naming windows, subjects and labels, for what `train` could not end well with.

    Says which labels have no training window: that is no error, but such a label is hardly ever answered.
    """
    train, labels = dataset.train, dataset.contract.labels
    check_windows_and_recipe(train, None, recipe, len(labels))
    _check_test(dataset)
    held = held_out_subjects(dataset, recipe)
    if held:
        _check_subjects(dataset, recipe, held)
        try:
            _check_labels(train.labels[~np.isin(train.subjects, held)], recipe)
        except InputError as error:
            names = _listed(dataset.subject_name(subject) for subject in held)
            raise InputError(f"with the subjects {names} held out: {error}") from error
    seen = set(np.unique(train.labels).tolist())
    if missing := [label for k, label in enumerate(labels) if k not in seen]:
        info(f"No training window is labelled {_listed(missing)}: the model will hardly ever answer that")


def check_windows_and_recipe(train: Windows, held_out: Windows | None, recipe: Recipe, labels: int) -> None:
    """Raise InputError for windows that cannot teach or be watched, and for a recipe that does not fit them."""
    window = train.signals.shape[1]
    if recipe.model.frame > window:
        raise InputError(
            f"recipe {recipe.name}: model.frame {recipe.model.frame} is longer than a window of {window} samples"
        )
    coarse_labels.check_coarse_labels(recipe.model.coarse, labels)
    _check_windows("training", train, labels)
    if held_out is not None:
        _check_windows("held-out", held_out, labels)
    _check_labels(train.labels, recipe)


def _check_windows(what: str, windows: Windows, labels: int) -> None:
    if not len(windows):
        raise InputError(f"there are no {what} windows: the group of subjects is empty; choose others")
    finite = np.isfinite(windows.signals)
    whole = finite.all(axis=(1, 2))
    if not whole.all():
        first = int(np.argmin(whole))
        channels = np.flatnonzero(~finite[first].all(axis=0)).tolist()
        raise InputError(
            f"{int((~whole).sum())} of the {what} windows hold NaN or infinity, the first is window {first} "
            f"(subject {windows.subjects[first]}) in channel {', '.join(map(str, channels))}, both counted from 0; "
            "repair or drop them"
        )
    low, high = int(windows.labels.min()), int(windows.labels.max())
    if low < 0 or high >= labels:
        raise InputError(f"the {what} windows have labels from {low} to {high}; they must be 0 to {labels - 1}")


def _check_labels(labels: NDArray[np.int64], recipe: Recipe) -> None:
    """Raise InputError where the training windows' labels [n] leave nothing to learn."""
    if len(np.unique(labels)) < 2:
        raise InputError("the training windows carry one label only; there is nothing to tell apart")
    if recipe.schedule.coarse_epochs and len(np.unique(coarse_labels.to_coarse(recipe.model.coarse, labels))) < 2:
        raise InputError(
            "the training windows carry one coarse label only (model.coarse); there is nothing to tell apart"
        )


def _check_subjects(dataset: Dataset, recipe: Recipe, held: tuple[int, ...]) -> None:
    where = f"recipe {recipe.name}: validation.subjects" if dataset.held_out is None else "the data"
    present = sorted(set(dataset.train.subjects.tolist()))
    everybody = _listed(dataset.subject_name(subject) for subject in present)
    if unknown := sorted(set(held) - set(present)):
        raise InputError(
            f"{where} holds out {_listed(unknown)}, of whom there is no training window; the training subjects are "
            f"{everybody}. Name some of these in a recipe of your own, or nobody: subjects = []"
        )
    if not set(present) - set(held):
        raise InputError(f"{where} holds out every training subject ({everybody}); keep some to train on")


def _check_test(dataset: Dataset) -> None:
    test, contract = dataset.test, dataset.contract
    if not len(test):
        return
    try:
        check_windows(test.signals, contract.window, len(contract.channels))
    except InputError as error:
        raise InputError(f"in the test set: {error}") from error
    wrong = (test.labels < 0) | (test.labels >= len(contract.labels))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InputError(
            f"test window {first} has label {test.labels[first]}; the labels are 0 to {len(contract.labels) - 1}: "
            f"{_listed(contract.labels)}"
        )


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)
