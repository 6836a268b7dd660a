"""Records which subjects a model was trained on, and detects them in a test set."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from harexport.data.dataset import Dataset, Windows
from harexport.errors import InputError
from harexport.utils.console import info


def describe_split(dataset: Dataset) -> dict[str, Any]:
    """Describe the split of a dataset for a checkpoint.

    Returns:
        Plain JSON values: "train_subjects" maps the name of each training subject to a digest of the sequence of its
        labels, which does not depend on channels or filters; "test_subjects" lists names.
    """
    return {
        "named_subjects": bool(dataset.subject_names),
        "train_subjects": _digests(dataset, dataset.train),
        "test_subjects": list(_digests(dataset, dataset.test)),
    }


def check_split(dataset: Dataset, split: dict[str, Any] | None, model: str) -> None:
    """Check that a model was not trained on the test subjects of a dataset.

    A test subject with the name of a training subject, but with other recordings, is logged only: the names of two
    datasets may coincide.

    Args:
        dataset: Dataset whose test set is used.
        split: The result of `describe_split` in the model's checkpoint; None in checkpoints of version 0.1.
        model: Name of the model for the error message.

    Raises:
        InputError: The test set contains recordings of a training subject.
    """
    if split is None:
        return
    trained = split.get("train_subjects") if isinstance(split, dict) else None
    if not isinstance(trained, dict):
        raise InputError(f"{model}: the split in its header is damaged; train it again")
    if split.get("named_subjects") != bool(dataset.subject_names):
        return
    test = _digests(dataset, dataset.test)
    same_name = [name for name in test if name in trained]
    identical = [name for name in same_name if test[name] == trained[name]]
    if identical:
        raise InputError(
            f"{model} was trained on subject {', '.join(identical)}, who is in the test set of {dataset.source}. "
            "Restore the test subjects of the training, or train again"
        )
    if same_name:
        info(
            f"Warning: {model} was trained on subjects with the same name as the test subjects {', '.join(same_name)}. "
            "If they are the same people, the test accuracy is too high"
        )


def count_duplicates(train: Windows, test: Windows) -> int:
    """Count the test windows whose signals are identical to those of a training window."""
    known = {_window_digest(window) for window in train.signals}
    return sum(_window_digest(window) in known for window in test.signals)


def _window_digest(window: np.ndarray[Any, Any]) -> bytes:
    return hashlib.sha1(np.ascontiguousarray(window).tobytes(), usedforsecurity=False).digest()


def _digests(dataset: Dataset, windows: Windows) -> dict[str, str]:
    return {
        dataset.subject_name(int(subject)): hashlib.sha256(
            windows.labels[windows.subjects == subject].astype("<i8").tobytes()
        ).hexdigest()[:16]
        for subject in np.unique(windows.subjects)
    }
