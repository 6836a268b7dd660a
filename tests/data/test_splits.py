"""A test set with training subjects of the model is refused, and duplicated windows are counted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harexport.data import Dataset, Windows
from harexport.data.splits import check_split, count_duplicates, describe_split
from harexport.errors import InputError


def _windows(subjects: list[int], seed: int, count: int = 20) -> Windows:
    random = np.random.default_rng(seed)
    n = count * len(subjects)
    signals = random.normal(size=(n, 8, 9)).astype(np.float32)
    return Windows(signals, random.integers(0, 6, n), np.repeat(np.array(subjects, np.int64), count))


@pytest.fixture
def people() -> Dataset:
    return Dataset(
        _windows([1, 2], 0), _windows([3], 1), "recordings", "0" * 64, subject_names=("anna", "ben", "carla")
    )


def test_the_split_of_the_training_is_accepted(people: Dataset) -> None:
    split = describe_split(people)
    assert list(split["train_subjects"]) == ["anna", "ben"]
    assert split["test_subjects"] == ["carla"]
    check_split(people, split, "model")
    check_split(people, None, "model of version 0.1")
    # other channels, other filters
    check_split(people.select_channels(people.contract.channels[:3]), split, "model")


def test_a_training_subject_in_the_test_set_is_refused(people: Dataset) -> None:
    split = describe_split(people)
    moved = dataclasses.replace(people, test=people.train.select_subjects([1]))
    with pytest.raises(InputError, match=r"model was trained on subject anna, who is in the test set of recordings"):
        check_split(moved, split, "model")
    scaled = dataclasses.replace(moved.test, signals=moved.test.signals * 2)
    with pytest.raises(InputError, match="anna"):
        check_split(dataclasses.replace(moved, test=scaled), split, "model")


def test_a_common_name_is_a_warning(people: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    other = dataclasses.replace(people, test=_windows([1], 7))
    check_split(other, describe_split(people), "model")
    assert "the same name as the test subjects anna" in capsys.readouterr().err
    numbered = dataclasses.replace(other, subject_names=())  # another kind of dataset
    check_split(numbered, describe_split(people), "model")
    assert capsys.readouterr().err == ""


def test_duplicates(people: Dataset) -> None:
    assert count_duplicates(people.train, people.test) == 0
    test = dataclasses.replace(people.test, signals=people.test.signals.copy())
    test.signals[[3, 5]] = people.train.signals[[0, 30]]
    assert count_duplicates(people.train, test) == 2
