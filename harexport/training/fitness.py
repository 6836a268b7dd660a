"""Whether data and recipe can end in a model and its figures at all: asked before the first of many minutes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from harexport.console import say
from harexport.data.windows import Dataset
from harexport.errors import InputError
from harexport.network import check_windows
from harexport.training import coarse
from harexport.training.recipe import Recipe


def as_seen(dataset: Dataset, recipe: Recipe) -> Dataset:
    """The data as the recipe's network sees them: its channels, and the names of its coarse labels.

    Raises InputError for channels that are not there and for coarse labels of another number of labels.
    """
    seen = dataset.narrowed(recipe.data.channels or dataset.contract.channels)
    lumps = coarse.names(recipe.model.coarse, seen.contract.labels)
    return replace(seen, contract=replace(seen.contract, coarse_labels=lumps))


def held_out(dataset: Dataset, recipe: Recipe) -> tuple[int, ...]:
    """The training subjects that the first pass holds out: those that the data name, else those of the recipe."""
    return recipe.validation.subjects if dataset.held_out is None else dataset.held_out


def check(dataset: Dataset, recipe: Recipe) -> None:
    """Raise InputError, naming windows, subjects and labels, for what `train` could not end well with.

    Says which labels have no training window: that is no error, but such a label is hardly ever answered.
    """
    from harexport.training.loop import check_fit

    train, labels = dataset.train, dataset.contract.labels
    check_fit(train, None, recipe, len(labels))
    _check_test(dataset)
    held = held_out(dataset, recipe)
    if held:
        _check_subjects(dataset, recipe, held)
        kept, watched = train.of_subjects(held, without=True), train.of_subjects(held)
        try:
            check_fit(kept, watched, recipe, len(labels))
        except InputError as error:
            names = _listed(dataset.subject_name(subject) for subject in held)
            raise InputError(f"with the subjects {names} held out: {error}") from error
    seen = set(np.unique(train.labels).tolist())
    if missing := [label for k, label in enumerate(labels) if k not in seen]:
        say(f"No training window is labelled {_listed(missing)}: the model will hardly ever answer that")


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
