"""Every training subject is held out exactly once, whatever the number of folds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harexport.data import Dataset
from harexport.errors import InputError
from harexport.model_selection.cross_validation import make_folds, parse_seeds


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=60, unique=True), st.data())
def test_each_subject_is_in_one_fold(subjects: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(2, len(subjects)))
    parted = make_folds(subjects * 3, str(count))
    assert len(parted) == count
    assert sorted(subject for fold in parted for subject in fold) == sorted(subjects)
    sizes = [len(fold) for fold in parted]
    assert max(sizes) - min(sizes) <= 1


def test_the_21_training_subjects(dataset: Dataset) -> None:
    subjects = dataset.train.subjects.tolist()
    assert make_folds(subjects, "loso") == [(subject,) for subject in sorted(set(subjects))]
    assert len(make_folds(subjects, "loso")) == 21
    # the folds of benchmarks/recipes.json, so that its figures stay comparable
    assert make_folds(subjects, "3")[1] == (3, 7, 14, 17, 22, 26, 29)


@pytest.mark.parametrize("value", ["1", "0", "-3", "22", "", "all", "3.5", "²", "9" * 5000])
def test_invalid_number_of_folds(value: str, dataset: Dataset) -> None:
    with pytest.raises(InputError, match="give loso or a number from 2 to 21"):
        make_folds(dataset.train.subjects.tolist(), value)


def test_one_subject() -> None:
    with pytest.raises(InputError, match=r"1 subject.*at least two"):
        make_folds([4, 4, 4], "loso")


def test_seeds() -> None:
    assert parse_seeds("0, 1,7,1") == (0, 1, 7)
    for text in ("", "0,", "-1", "1.5", "a", str(2**32), "1" * 5000, "²"):
        with pytest.raises(InputError, match="give numbers from 0 to 4294967295"):
            parse_seeds(text)
    with pytest.raises(InputError, match="at most 1000"):
        parse_seeds(",".join(map(str, range(1001))))
