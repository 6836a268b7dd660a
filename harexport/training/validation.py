"""Validates dataset and recipe before training starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Dataset, Windows
from harexport.data.mounting import mount_dataset
from harexport.data.splits import count_duplicates
from harexport.errors import InputError
from harexport.model.network import check_windows
from harexport.model.recipe import Recipe
from harexport.training import coarse_labels
from harexport.utils.console import info


def apply_recipe_to_dataset(dataset: Dataset, recipe: Recipe) -> Dataset:
    """Select the recipe's channels, rotate recordings by their mounting, and name the coarse labels in the contract.

    Raises:
        InputError: The dataset lacks a channel, has another number of labels than the coarse labels, or a recording
            whose mounting is unknown.
    """
    selected = dataset.select_channels(recipe.data.channels or dataset.contract.channels)
    if recipe.data.mount != "none":
        selected = mount_dataset(selected, recipe.data.mount)
    names = coarse_labels.coarse_label_names(recipe.model.coarse, selected.contract.labels)
    return replace(selected, contract=replace(selected.contract, coarse_labels=names))


def held_out_subjects(dataset: Dataset, recipe: Recipe) -> tuple[int, ...]:
    """Return the subjects that the first pass holds out: those of the dataset, else those of the recipe."""
    return recipe.validation.subjects if dataset.held_out is None else dataset.held_out


def check_recipe(dataset: Dataset, recipe: Recipe) -> None:
    """Check that dataset and recipe can be trained and evaluated. Labels without training windows are logged.

    Raises:
        InputError: They cannot; the message names windows, subjects or labels.
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
            names = _join(dataset.subject_name(subject) for subject in held)
            raise InputError(f"with the subjects {names} held out: {error}") from error
    if duplicates := count_duplicates(train, dataset.test):
        info(f"Warning: {duplicates} test windows are identical to training windows; the test accuracy is too high")
    seen = set(np.unique(train.labels).tolist())
    if missing := [label for k, label in enumerate(labels) if k not in seen]:
        info(f"No training window has the label {_join(missing)}: the model will hardly ever predict it")


def check_windows_and_recipe(train: Windows, held_out: Windows | None, recipe: Recipe, num_labels: int) -> None:
    """Check the windows of one training.

    Args:
        train: Training windows.
        held_out: Windows to evaluate, None if there are none.
        recipe: Hyperparameters.
        num_labels: Number of labels.

    Raises:
        InputError: Windows are missing, not finite or all of one label, or do not fit the recipe.
    """
    window = train.signals.shape[1]
    if isinstance(recipe.model.layers, int) and recipe.model.frame > window:
        raise InputError(
            f"recipe {recipe.name}: model.frame {recipe.model.frame} is longer than a window of {window} samples"
        )
    coarse_labels.check_coarse_labels(recipe.model.coarse, num_labels)
    _check_windows("training", train, num_labels)
    if held_out is not None:
        _check_windows("held-out", held_out, num_labels)
    _check_labels(train.labels, recipe)


def _check_windows(what: str, windows: Windows, labels: int) -> None:
    if not len(windows):
        raise InputError(f"there are no {what} windows; choose other subjects")
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
    """Raise InputError if the labels [n] of the training windows are all the same."""
    if len(np.unique(labels)) < 2:
        raise InputError("all training windows have the same label (one label only); at least two are needed")
    if recipe.schedule.coarse_epochs and len(np.unique(coarse_labels.to_coarse(recipe.model.coarse, labels))) < 2:
        raise InputError("all training windows have the same coarse label (one coarse label only); change model.coarse")


def _check_subjects(dataset: Dataset, recipe: Recipe, held: tuple[int, ...]) -> None:
    where = f"recipe {recipe.name}: validation.subjects" if dataset.held_out is None else "the data"
    present = sorted(set(dataset.train.subjects.tolist()))
    all_subjects = _join(dataset.subject_name(subject) for subject in present)
    if unknown := sorted(set(held) - set(present)):
        raise InputError(
            f"{where} holds out {_join(unknown)}, who have no training windows; the training subjects are "
            f"{all_subjects}. Choose some of these in a recipe of your own, or none: subjects = []"
        )
    if not set(present) - set(held):
        raise InputError(f"{where} holds out every training subject ({all_subjects}); keep some to train on")


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
            f"{_join(contract.labels)}"
        )


def _join(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)
