"""Windows are rotated into the frame of a model, each recording by its own mounting."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harexport.data.dataset import Dataset, Windows
from harexport.data.mounting import (
    STANDING,
    WALKING,
    adapt_dataset,
    mount_dataset,
    mount_windows,
    recording_ids,
    select_held_out,
)
from harexport.errors import InputError
from harexport.model.contract import Contract, Frame
from harexport.preprocessing.mount import angle_deg
from tests.preprocessing.test_mount import level_walk, rotation, still

CONTRACT = Contract()


def person(subject: int) -> Windows:
    """Ten windows of level walking and ten of standing, by a phone in an orientation of its own."""
    acc = np.concatenate([level_walk(14.1, seed=subject), still(14.1, (1.0, 0.0, 0.1), seed=subject)])
    acc = rotation(subject).rotate_signal(acc)
    signal = np.concatenate([acc - acc.mean(axis=0), np.zeros_like(acc), acc], axis=1)
    parts = [signal[k : k + 128] for first in (0, 705) for k in range(first, first + 577, 64)]
    labels = np.repeat([0, 4], 10)
    return Windows(np.array(parts, np.float32), labels, np.full(20, subject))


def joined(*parts: Windows) -> Windows:
    return Windows(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("signals", "labels", "subjects")))


DATASET = Dataset(joined(person(1), person(2), person(3)), person(4), "made up", "0" * 64)


def gravity(windows: Windows, label: int) -> np.ndarray:
    chosen = windows.signals[windows.labels == label][:, :, 6:9]
    return np.asarray(chosen.mean(axis=1, dtype=np.float64))


@pytest.mark.parametrize(("source", "label"), [(WALKING, 0), (STANDING, 4)])
def test_gravity_of_training_windows_is_along_x(source: str, label: int) -> None:
    mounted = mount_dataset(DATASET, source)
    assert mounted.contract.frame == Frame()
    assert max(angle_deg(vector, (1, 0, 0)) for vector in gravity(mounted.train, label)) < 3.0
    assert max(angle_deg(vector, (1, 0, 0)) for vector in gravity(mounted.test, 0)) < 3.0  # always by walking
    assert angle_deg(gravity(mounted.test, 4).mean(axis=0), (1, 0, 0)) > 4.0
    np.testing.assert_allclose(
        np.linalg.norm(mounted.train.signals[:, :, 6:9], axis=2),
        np.linalg.norm(DATASET.train.signals[:, :, 6:9], axis=2),
        atol=1e-5,
    )


def test_held_out_subjects_are_rotated_by_walking() -> None:
    held_out = select_held_out(mount_dataset(DATASET, STANDING), [2])
    assert set(held_out.subjects.tolist()) == {2}
    assert max(angle_deg(vector, (1, 0, 0)) for vector in gravity(held_out, 0)) < 3.0
    plain = select_held_out(DATASET, [2])
    assert np.array_equal(plain.signals, DATASET.train.select_subjects([2]).signals)


def test_dataset_for_a_model_with_a_frame_is_rotated() -> None:
    mounted = adapt_dataset(DATASET, Contract(frame=Frame()))
    assert max(angle_deg(vector, (1, 0, 0)) for vector in gravity(mounted.train, 0)) < 3.0
    assert np.array_equal(adapt_dataset(DATASET, Contract()).train.signals, DATASET.train.signals)


def test_recordings_of_other_data_are_its_subjects() -> None:
    assert np.array_equal(recording_ids(DATASET, "train"), DATASET.train.subjects)


def test_unknown_mounting_is_an_input_error() -> None:
    windows = person(5)
    standing = dataclasses.replace(windows, signals=windows.signals[10:], labels=windows.labels[10:],
                                   subjects=windows.subjects[10:])  # fmt: skip
    with pytest.raises(InputError, match="subject 5 have no level walking"):
        mount_windows(standing, CONTRACT, standing.subjects)
    with pytest.raises(InputError, match="subject 5 have no windows labeled STANDING"):
        mount_windows(dataclasses.replace(standing, labels=np.full(10, 3)), CONTRACT, standing.subjects, STANDING)


def test_a_short_recording_takes_the_mounting_of_the_others() -> None:
    windows = person(5)
    recordings = np.repeat([1, 2], 10)  # the second one has no walking
    mounted = mount_windows(windows, CONTRACT, recordings)
    assert angle_deg(gravity(mounted, 4).mean(axis=0), (1, 0, 0)) < 10.0


def test_channels_without_gravity_are_an_input_error() -> None:
    channels, units = CONTRACT.channels[:6], CONTRACT.units[:6]
    without = dataclasses.replace(CONTRACT, channels=channels, units=units)
    with pytest.raises(InputError, match="add total_acc_x"):
        mount_windows(person(1).select_channels(list(range(6))), without, person(1).subjects)
