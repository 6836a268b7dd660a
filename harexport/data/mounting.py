"""Adapt a dataset to a model: select its channels, and rotate each recording into its frame by its own mounting.

People wear a phone a little differently every time: in UCI HAR, gravity differs by up to 18 degrees between the two
recordings of one subject. A model with a frame is therefore trained and evaluated on windows that are rotated per
recording, as the mount stage does on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Dataset, Windows, contract_mismatches
from harexport.data.uci_har.manifest import SPLITS, load_window_index
from harexport.errors import InputError
from harexport.model.contract import Contract, Frame
from harexport.preprocessing.mount import Mount, robust_direction
from harexport.preprocessing.mount_estimator import gait_features
from harexport.preprocessing.stream import check_vectors

STANDING, WALKING = "standing", "walking"
_STANDING_LABEL = "STANDING"
_MIN_TOTAL_WEIGHT = 1.0  # one window of certain level walking


def adapt_dataset(dataset: Dataset, contract: Contract, model: str = "the model") -> Dataset:
    """Select the channels of a model's contract after checking that the model fits the dataset.

    Recordings are rotated into the model's frame, if it has one, each by its own level walking.

    Args:
        dataset: Training and test windows.
        contract: The model's contract.
        model: Name of the model in the error message.

    Raises:
        InputError: Windows, labels, filters or channels differ.
    """
    if mismatches := contract_mismatches(contract, dataset.contract):
        raise InputError(
            f"{model} does not fit the data ({dataset.source}): {'; '.join(mismatches)}. Pass the data that the model "
            "was trained on with --data"
        )
    selected = dataset.select_channels(contract.channels)
    if contract.frame is None or dataset.contract.frame is not None:
        return selected
    return mount_dataset(selected, all_headings=True)


def mount_dataset(dataset: Dataset, training: str = WALKING, all_headings: bool = False) -> Dataset:
    """Rotate all windows so that gravity is along +x, and add the frame to the contract.

    Args:
        dataset: Windows with total_acc channels in g.
        training: How the mounting of training recordings is known: from the windows labeled STANDING ("standing"), or
            from level walking, without labels ("walking"). Test recordings always use walking.
        all_headings: Also rotate the training windows about the x axis, each by another angle, so that the calibration
            of an integer model covers all headings.

    Raises:
        InputError: The channels are not whole vectors with total_acc, or nothing shows a recording's mounting.
    """
    contract = dataset.contract
    train = mount_windows(dataset.train, contract, recording_ids(dataset, SPLITS[0]), training)
    if all_headings:
        train = _spread_headings(train)
    test = mount_windows(dataset.test, contract, recording_ids(dataset, SPLITS[1]), WALKING)
    return replace(dataset, train=train, test=test, contract=replace(contract, frame=Frame()))


def mount_windows(
    windows: Windows, contract: Contract, recordings: NDArray[np.int64], source: str = WALKING
) -> Windows:
    """Rotate windows so that gravity is along +x.

    Args:
        windows: Windows of the contract's channels.
        contract: Their contract.
        recordings: Number of each window's recording [n].
        source: "standing" or "walking", see `mount_dataset`.

    Raises:
        InputError: The channels are not whole vectors with total_acc, or nothing shows a recording's mounting.
    """
    if not len(windows):
        return windows
    check_vectors(contract)
    if "total_acc_x" not in contract.channels:
        raise InputError("the mounting is estimated from total_acc, which the channels lack; add total_acc_x, y, z")
    at = contract.channels.index("total_acc_x")
    signals = np.empty_like(windows.signals)
    for recording in np.unique(recordings):
        chosen = recordings == recording
        gravity = _gravity(windows, chosen, at, contract, source)
        if gravity is None:  # a short recording: assume the mounting of the subject's other recordings
            subject = windows.subjects == windows.subjects[chosen][0]
            gravity = _gravity(windows, subject, at, contract, source)
        if gravity is None:
            missing = f"windows labeled {_STANDING_LABEL}" if source == STANDING else "level walking"
            number = int(windows.subjects[chosen][0])
            raise InputError(f"the recordings of subject {number} have no {missing}, so their mounting is unknown")
        signals[chosen] = Mount.from_gravity(gravity).rotate_signal(windows.signals[chosen])
    return replace(windows, signals=signals)


def _spread_headings(windows: Windows) -> Windows:
    """Rotate window k about the x axis by k times the golden angle."""
    angles = np.arange(len(windows)) * (np.pi * (3.0 - np.sqrt(5.0)))
    cosine, sine = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    signals = windows.signals.copy()
    y, z = windows.signals[:, :, 1::3], windows.signals[:, :, 2::3]
    signals[:, :, 1::3] = cosine * y - sine * z
    signals[:, :, 2::3] = sine * y + cosine * z
    return replace(windows, signals=signals)


def select_held_out(dataset: Dataset, subjects: Sequence[int]) -> Windows:
    """Select training subjects for evaluation; with a frame, each recording is rotated by its own level walking."""
    windows = dataset.train.select_subjects(subjects)
    if dataset.contract.frame is None:
        return windows
    recordings = recording_ids(dataset, SPLITS[0])[np.isin(dataset.train.subjects, np.asarray(subjects))]
    return mount_windows(windows, dataset.contract, recordings)


def recording_ids(dataset: Dataset, split: str) -> NDArray[np.int64]:
    """Return the number of each window's recording [n]: from the index of UCI HAR, otherwise the subject's number."""
    windows: Windows = getattr(dataset, split)
    ids = np.full(len(windows), -1, dtype=np.int64)
    for run in load_window_index():
        if run.split == split:
            rows = slice(run.first_row, run.first_row + run.rows)
            if not (windows.subjects[rows] == run.subject).all():
                return windows.subjects
            ids[rows] = 10 * run.subject + run.recording
    last = max((run.first_row + run.rows for run in load_window_index() if run.split == split), default=0)
    return ids if last == len(windows) else windows.subjects


def _gravity(
    windows: Windows, chosen: NDArray[np.bool_], at: int, contract: Contract, source: str
) -> tuple[float, ...] | None:
    """Return the direction of gravity of one recording, None where nothing shows it."""
    acceleration = windows.signals[chosen][:, :, at : at + 3]
    if source == STANDING:
        if _STANDING_LABEL not in contract.labels:
            return None
        standing = windows.labels[chosen] == contract.labels.index(_STANDING_LABEL)
        if not standing.any():
            return None
        return tuple(acceleration[standing].mean(axis=(0, 1), dtype=np.float64).tolist())
    features = [gait_features(window, contract.rate_hz) for window in acceleration]
    weighted = [(one.gravity, one.level_weight) for one in features if one.level_weight > 0.0]
    if sum(weight for _, weight in weighted) < _MIN_TOTAL_WEIGHT:
        return None
    return robust_direction(weighted)[0]
