"""Windows with their labels and subjects, and the stretches of signal they were cut from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.contract import Contract


@dataclass(frozen=True)
class Windows:
    """signals float32 [n, window, channels] in physical units; labels int64 [n] from 0; subjects int64 [n].

    Windows cut from one another's continuation begin `hop` samples apart.
    """

    signals: NDArray[np.float32]
    labels: NDArray[np.int64]
    subjects: NDArray[np.int64]
    hop: int = 64

    def __len__(self) -> int:
        return len(self.labels)

    def of_subjects(self, subjects: list[int] | tuple[int, ...], *, without: bool = False) -> Windows:
        """The windows of these subjects (or, `without`, of all others), in their order. Raises InputError."""
        present = set(np.unique(self.subjects).tolist())
        if unknown := sorted(set(subjects) - present):
            raise InputError(f"no windows of subject {unknown}; the subjects here are {sorted(present)}")
        mask = np.isin(self.subjects, np.asarray(subjects, dtype=np.int64)) ^ without
        return Windows(np.asarray(self.signals[mask]), self.labels[mask], self.subjects[mask], self.hop)

    def of_channels(self, positions: list[int]) -> Windows:
        """The same windows with the channels at these positions, in this order."""
        return dataclasses.replace(self, signals=np.ascontiguousarray(self.signals[:, :, positions]))


@dataclass(frozen=True)
class Dataset:
    """Training and test windows; no subject is in both. `source` says where they came from, in words;
    `digest` is the SHA-256 of the content they were read from; `contract` what the windows are (channels, units, rate,
    hop, labels) and so what a model trained on them expects.

    Recordings of one's own (data/own.py) bring more: subject k is called `subject_names[k - 1]`; `held_out` are the
    training subjects for validation, instead of those that a recipe names (None: the recipe says); `notes` are
    sentences that people should read whenever the data is used.
    """

    train: Windows
    test: Windows
    source: str
    digest: str
    contract: Contract = field(default_factory=Contract)
    subject_names: tuple[str, ...] = ()
    held_out: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()

    def subject_name(self, subject: int) -> str:
        """What a subject is called: the name in one's own recordings, else the number."""
        return self.subject_names[subject - 1] if self.subject_names else str(subject)

    def narrowed(self, channels: tuple[str, ...]) -> Dataset:
        """The same windows with these channels only, in this order. Raises InputError for one that is not there."""
        own = self.contract
        if channels == own.channels:
            return self
        if unknown := [name for name in channels if name not in own.channels]:
            raise InputError(f"the data has no channel {', '.join(unknown)}; it has {', '.join(own.channels)}")
        kept = [own.channels.index(name) for name in channels]
        contract = dataclasses.replace(own, channels=channels, units=tuple(own.units[k] for k in kept))
        train, test = self.train.of_channels(kept), self.test.of_channels(kept)
        return dataclasses.replace(self, train=train, test=test, contract=contract)

    def fitting(self, contract: Contract, model: str = "the model") -> Dataset:
        """The windows with the channels that a model's `contract` names.

        Raises InputError, in words that begin with `model`, where its windows, labels or channels are others.
        """
        if differing := differences(contract, self.contract):
            raise InputError(
                f"{model} does not fit the data ({self.source}): {'; '.join(differing)}. With --data give the data "
                "that the model was trained on"
            )
        return self.narrowed(contract.channels)


def differences(model: Contract, data: Contract) -> list[str]:
    """In words, why a model of the contract `model` cannot be judged on windows of the contract `data`.

    Empty where it can: fewer channels are no hindrance, nor is another hop.
    """
    found = []
    if model.labels != data.labels:
        found.append(f"it answers {', '.join(model.labels)}, the data have {', '.join(data.labels)}")
    if (model.window, model.rate_hz) != (data.window, data.rate_hz):
        found.append(
            f"it reads {model.window} samples at {model.rate_hz:g} Hz, the data have {data.window} at "
            f"{data.rate_hz:g} Hz"
        )
    units = dict(zip(data.channels, data.units, strict=True))
    if missing := [name for name in model.channels if name not in units]:
        found.append(f"the data have no channel {', '.join(missing)}")
    for name, unit in zip(model.channels, model.units, strict=True):
        if unit != units.get(name, unit):
            found.append(f"it reads {name} in {unit}, the data have it in {units[name]}")
    if model.filters != data.filters:
        found.append("its signals were filtered otherwise")
    return found


@dataclass(frozen=True)
class Stretches:
    """Continuous signals of one subject and one label, recovered from windows that overlap.

    signal float32 [samples, channels] holds all stretches one after the other; stretch k is
    signal[start[k] : start[k] + length[k]]. For each window i of the source: it lies in stretch
    `of_window[i]` and begins `offset[i]` samples after that stretch's start.
    """

    signal: NDArray[np.float32]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    of_window: NDArray[np.int64]
    offset: NDArray[np.int64]


def stretches(windows: Windows) -> Stretches:
    """Chain consecutive windows whose samples [hop:] reappear as the next window's [:window-hop].

    The overlap is compared exactly, on all channels: consecutive windows of one recording repeat the very
    same numbers, and no two different pieces of signal do. Windows that do not overlap are a stretch each.
    """
    signals, hop = np.asarray(windows.signals), windows.hop
    n, window, channels = signals.shape
    overlap = window - hop
    follows = np.zeros(n, dtype=bool)
    if n > 1 and overlap > 0:
        same = (signals[:-1, hop:] == signals[1:, :overlap]).all(axis=(1, 2))
        follows[1:] = (
            same & (windows.labels[1:] == windows.labels[:-1]) & (windows.subjects[1:] == windows.subjects[:-1])
        )
    of_window = np.cumsum(~follows) - 1
    first = np.flatnonzero(~follows)
    offset = (np.arange(n) - first[of_window]) * hop
    length = np.bincount(of_window) * hop + overlap
    start = np.concatenate([[0], np.cumsum(length)[:-1]])
    signal = np.empty((int(length.sum()), channels), dtype=np.float32)
    for i in range(n):  # the overlap is written twice, with the same numbers
        at = start[of_window[i]] + offset[i]
        signal[at : at + window] = signals[i]
    return Stretches(signal, start, length, of_window, offset)


@dataclass(frozen=True)
class ExactWindows:
    """signals float64 [n, window, channels] in physical units; labels int64 [n] from 0; subjects int64 [n]."""

    signals: NDArray[np.float64]
    labels: NDArray[np.int64]
    subjects: NDArray[np.int64]

    def rounded(self) -> Windows:
        return Windows(self.signals.astype(np.float32), self.labels, self.subjects)


@dataclass(frozen=True)
class ExactDataset:
    """As windows.Dataset, in float64."""

    train: ExactWindows
    test: ExactWindows
    source: str
    digest: str

    def rounded(self) -> Dataset:
        return Dataset(self.train.rounded(), self.test.rounded(), self.source, self.digest)
