"""Invalid datasets and recipes are refused before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harexport.data import Dataset, Windows
from harexport.errors import InputError
from harexport.training.train import train

from .conftest import small_recipe


@pytest.fixture(autouse=True)
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harexport.training.trainer.fit", lambda *_, **__: pytest.fail("trained first"))


def _with_nan(windows: Windows, at: int) -> Windows:
    signals = windows.signals.copy()
    signals[at, 7, 4] = np.nan
    return replace(windows, signals=signals)


def _kept(windows: Windows, mask: np.ndarray) -> Windows:
    return replace(windows, signals=windows.signals[mask], labels=windows.labels[mask], subjects=windows.subjects[mask])


def _assert_refused(dataset: Dataset, out: Path, words: str, **sections: dict[str, object]) -> None:
    with pytest.raises(InputError, match=words):
        train(dataset, small_recipe(**sections), out)
    assert not out.exists()


def test_one_label_only(small: Dataset, tmp_path: Path) -> None:
    one = replace(small, train=_kept(small.train, small.train.labels == 4))
    _assert_refused(one, tmp_path / "out", "one label only")
    # subject 1, who is left when subject 3 is held out, only walks
    mask = (small.train.subjects == 3) | (small.train.labels == 0)
    left = replace(small, train=_kept(small.train, mask))
    _assert_refused(left, tmp_path / "out", "with the subjects 3 held out: .*one label only")


def test_invalid_held_out_subjects(small: Dataset, tmp_path: Path) -> None:
    _assert_refused(
        small, tmp_path / "out", r"holds out every training subject \(1, 3\)", validation={"subjects": [1, 3]}
    )
    words = r"recipe small: validation.subjects holds out 4, who have no training windows.*are 1, 3\."
    _assert_refused(small, tmp_path / "out", words, validation={"subjects": [3, 4]})
    nothing = replace(small, train=_kept(small.train, small.train.labels < 0))
    _assert_refused(nothing, tmp_path / "out", "no training windows")


def test_messages_use_subject_names(small: Dataset, tmp_path: Path) -> None:
    own = replace(small, held_out=(1, 3), subject_names=("anna", "ben", "carla"))
    _assert_refused(own, tmp_path / "out", r"the data holds out every training subject \(anna, carla\)")


@pytest.mark.parametrize("part", ["train", "test"])
def test_nan_in_a_window(small: Dataset, tmp_path: Path, part: str) -> None:
    bad = replace(small, **{part: _with_nan(getattr(small, part), 11)})
    words = (
        "1 of the training windows hold NaN.*window 11"
        if part == "train"
        else "in the test set: window 11 contains NaN"
    )
    _assert_refused(bad, tmp_path / "out", words)


def test_labels_out_of_range(small: Dataset, tmp_path: Path) -> None:
    for part, words in (("train", "labels from 0 to 6"), ("test", "has label 6; the labels are 0 to 5: WALKING, ")):
        windows = getattr(small, part)
        labels = windows.labels.copy()
        labels[3] = 6
        _assert_refused(replace(small, **{part: replace(windows, labels=labels)}), tmp_path / "out", words)


def test_checkpoint_path_is_a_folder(small: Dataset, tmp_path: Path) -> None:
    (tmp_path / "small.safetensors").mkdir()
    with pytest.raises(InputError, match=r"small\.safetensors is a folder"):
        train(small, small_recipe(), tmp_path)


def test_label_without_windows_is_logged(small: Dataset, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    some = replace(small, train=_kept(small.train, small.train.labels != 5))
    with pytest.raises(pytest.fail.Exception):
        train(some, small_recipe(), tmp_path)
    assert "No training window has the label LAYING" in capsys.readouterr().err
