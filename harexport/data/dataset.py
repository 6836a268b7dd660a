"""Labeled windows, datasets of them, and the continuous segments that overlapping windows were cut from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.contract import Contract


@dataclass(frozen=True)
class Windows:
    """Windows of sensor signals with one label and one subject each.

    Attributes:
        signals: float32 (models read this) or float64 (exact), [n, window, channels], in the contract's units.
        labels: int64 [n], index into the contract's labels.
        subjects: int64 [n].
        hop: Distance between the starts of consecutive windows of a recording, in samples.
    """

    signals: NDArray[np.floating]
    labels: NDArray[np.int64]
    subjects: NDArray[np.int64]
    hop: int = 64

    def __len__(self) -> int:
        return len(self.labels)

    def select_subjects(self, subjects: Sequence[int], *, exclude: bool = False) -> Windows:
        """Select the windows of some subjects, in their order.

        Args:
            subjects: Subject numbers.
            exclude: Select the windows of all other subjects instead.

        Raises:
            InputError: A subject has no windows.
        """
        present = set(np.unique(self.subjects).tolist())
        if unknown := sorted(set(subjects) - present):
            raise InputError(f"no windows of subject {unknown}; the subjects are {sorted(present)}")
        mask = np.isin(self.subjects, np.asarray(subjects, dtype=np.int64)) ^ exclude
        return Windows(np.asarray(self.signals[mask]), self.labels[mask], self.subjects[mask], self.hop)

    def select_channels(self, positions: list[int]) -> Windows:
        """Select channels by position, in this order."""
        return dataclasses.replace(self, signals=np.ascontiguousarray(self.signals[:, :, positions]))

    def to_float32(self) -> Windows:
        """Round the signals to float32."""
        return dataclasses.replace(self, signals=self.signals.astype(np.float32))


@dataclass(frozen=True)
class Coverage:
    """Seconds of recording and number of windows of one subject and label."""

    subject: str
    label: str
    seconds: float
    windows: int


@dataclass(frozen=True)
class Dataset:
    """Training and test windows. No subject is in both.

    Attributes:
        train: Training windows.
        test: Test windows.
        source: Origin of the windows, for messages.
        digest: SHA-256 of the content that the windows were read from.
        contract: Channels, units, rate, hop and labels of the windows.
        subject_names: Name of subject k is `subject_names[k - 1]`; empty where subjects are numbers.
        held_out: Training subjects for validation, which replace those of a recipe; None: the recipe decides.
        notes: Messages to show whenever the dataset is loaded.
        coverage: Amount of data by subject and label, for custom recordings.
    """

    train: Windows
    test: Windows
    source: str
    digest: str
    contract: Contract = field(default_factory=Contract)
    subject_names: tuple[str, ...] = ()
    held_out: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    coverage: tuple[Coverage, ...] = ()

    def subject_name(self, subject: int) -> str:
        """Return the name of a subject, or its number where subjects have no names."""
        return self.subject_names[subject - 1] if self.subject_names else str(subject)

    def to_float32(self) -> Dataset:
        """Round all signals to float32."""
        return dataclasses.replace(self, train=self.train.to_float32(), test=self.test.to_float32())

    def select_channels(self, channels: tuple[str, ...]) -> Dataset:
        """Select channels by name, in this order.

        Raises:
            InputError: The dataset lacks a channel.
        """
        contract = self.contract
        if channels == contract.channels:
            return self
        if unknown := [name for name in channels if name not in contract.channels]:
            raise InputError(f"the data has no channel {', '.join(unknown)}; it has {', '.join(contract.channels)}")
        positions = [contract.channels.index(name) for name in channels]
        selected = dataclasses.replace(contract, channels=channels, units=tuple(contract.units[k] for k in positions))
        train, test = self.train.select_channels(positions), self.test.select_channels(positions)
        return dataclasses.replace(self, train=train, test=test, contract=selected)


def contract_mismatches(model: Contract, data: Contract) -> list[str]:
    """List why a model cannot be evaluated on windows of another contract; empty if it can.

    A model may use fewer channels than the data have, and another hop.

    Args:
        model: The model's contract.
        data: The dataset's contract.
    """
    mismatches = []
    if model.labels != data.labels:
        mismatches.append(f"its labels are {', '.join(model.labels)}, those of the data {', '.join(data.labels)}")
    if (model.window, model.rate_hz) != (data.window, data.rate_hz):
        mismatches.append(
            f"its windows have {model.window} samples at {model.rate_hz:g} Hz, those of the data {data.window} at "
            f"{data.rate_hz:g} Hz"
        )
    units = dict(zip(data.channels, data.units, strict=True))
    if missing := [name for name in model.channels if name not in units]:
        mismatches.append(f"the data have no channel {', '.join(missing)}")
    for name, unit in zip(model.channels, model.units, strict=True):
        if unit != units.get(name, unit):
            mismatches.append(f"it expects {name} in {unit}, the data have it in {units[name]}")
    if model.filters != data.filters:
        mismatches.append("its signals were filtered differently")
    return mismatches


@dataclass(frozen=True)
class Segments:
    """Continuous signals of one subject and one label each, recovered from overlapping windows.

    Attributes:
        signal: [samples, channels], all segments concatenated; segment k is signal[start[k] : start[k] + length[k]].
        start: int64 [segments], first sample of each segment.
        length: int64 [segments], number of samples of each segment.
        segment_index: int64 [windows], segment that contains each window.
        offset: int64 [windows], start of each window in its segment, in samples.
    """

    signal: NDArray[np.floating]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    segment_index: NDArray[np.int64]
    offset: NDArray[np.int64]


def find_segments(windows: Windows) -> Segments:
    """Join windows whose samples [hop:] are equal to the next window's [: window - hop].

    Equality is exact, on all channels: consecutive windows of a recording repeat the same numbers, and different
    pieces of signal do not. A window without such a neighbor is a segment by itself.
    """
    signals, hop = np.asarray(windows.signals), windows.hop  # [n, window, channels]
    n, window, channels = signals.shape
    overlap = window - hop
    follows = np.zeros(n, dtype=bool)
    if n > 1 and overlap > 0:
        same = (signals[:-1, hop:] == signals[1:, :overlap]).all(axis=(1, 2))
        follows[1:] = (
            same & (windows.labels[1:] == windows.labels[:-1]) & (windows.subjects[1:] == windows.subjects[:-1])
        )
    segment_index = np.cumsum(~follows) - 1
    first = np.flatnonzero(~follows)
    offset = (np.arange(n) - first[segment_index]) * hop
    length = np.bincount(segment_index) * hop + overlap
    start = np.concatenate([[0], np.cumsum(length)[:-1]])
    signal = np.empty((int(length.sum()), channels), dtype=signals.dtype)
    for i in range(n):  # the overlap is written twice, with the same numbers
        at = start[segment_index[i]] + offset[i]
        signal[at : at + window] = signals[i]
    return Segments(signal, start, length, segment_index, offset)
